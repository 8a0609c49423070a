//! Pagination: `?limit=…` and `?after=…`, and the `Link` to the next page (RFC 8288).
//!
//! A request without a limit gets up to 1,000 items, which is all of most lists. If more items follow, the response has a
//! `Link` to the next page and the list's `total`. A page with very long items ends earlier, after 8 MiB. So no request reads or
//! writes a list without a bound.
//!
//! The value of `after` is a cursor, which is opaque to clients. It contains a checksum, so the kit refuses a cursor that was
//! changed, truncated or taken from another list. The checksum needs no key: a forged cursor only selects a position in a list
//! that the client can read from its start anyway.

use crate::response::List;
use crate::storage::{self, Row, Rows};
use crate::{Failure, Request, Response};

/// Maximum items of a page if the request has no limit.
const WHOLE: u32 = 1_000;

/// Maximum items of a page if the request has a limit. Larger limits count as this one.
const LIMIT: u32 = 100;

/// A page of this many bytes gets no further item. A component has 64 MiB of linear memory by default, and a body needs three
/// times its length while it grows.
const BYTES: usize = 8 << 20;

/// Rows that one statement reads. The host limits a result to 4 MiB, so a row can have 20 KiB.
const ROWS_AT_ONCE: u32 = 200;

/// The page of a list that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Maximum number of items: 1 to 100, or 1,000 if the request has no limit.
    pub limit: u32,
    /// The id of the previous page's last item. None for the first page.
    pub after: Option<i64>,
    /// Whether the request has a limit. Then the link to the next page repeats it.
    is_named: bool,
}

/// The position of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The id of the last item of this page.
    pub after: i64,
    /// How many items the whole list has.
    pub total: i64,
}

impl Page {
    /// Reads the page from a request's query.
    ///
    /// # Errors
    ///
    /// 400 `INVALID_PAGE` if `limit` is no positive integer, or `after` is no cursor of this list.
    pub fn of(request: &Request) -> Result<Page, Failure> {
        let (limit, after) = (request.query("limit"), request.query("after"));
        let page = Page::read(request.path(), limit.as_deref(), after.as_deref());
        let why = "limit must be an integer from 1 to 100. after must come from a Link header of this list.";
        page.ok_or_else(|| Page::refused(why))
    }

    /// 400 `INVALID_PAGE`: there is no such page.
    pub fn refused(why: &'static str) -> Failure {
        Failure::bad_request("INVALID_PAGE", why)
    }

    /// Responds with a page of a list that is ordered by id.
    ///
    /// `read(id, limit)` returns up to `limit` rows with larger ids, in order. `write` adds a row's item to the list and returns
    /// its id. `total` counts the whole list. It is called only if there is a next page.
    ///
    /// # Errors
    ///
    /// Storage errors of the three functions.
    pub fn by_id(
        self,
        path: &str,
        read: impl Fn(i64, u32) -> storage::Result<Rows>,
        write: impl Fn(Row<'_>, &mut List) -> storage::Result<i64>,
        total: impl FnOnce() -> storage::Result<i64>,
    ) -> Result<Response, Failure> {
        let mut list = List::default();
        let mut last = self.after.unwrap_or(i64::MIN);
        loop {
            let wanted = (self.limit + 1 - list.count()).min(ROWS_AT_ONCE);
            let rows = read(last, wanted)?;
            for row in rows.iter() {
                if list.count() == self.limit || list.bytes() >= BYTES {
                    return Ok(self.answer(path, list.finish(), Some(Next { after: last, total: total()? })));
                }
                last = write(row, &mut list)?;
            }
            if rows.len() < wanted as usize {
                return Ok(self.answer(path, list.finish(), None));
            }
        }
    }

    /// Adds the link to the next page and the total to a response, if there is a next page.
    pub fn answer(self, path: &str, page: Response, next: Option<Next>) -> Response {
        let Some(Next { after, total }) = next else { return page };
        let limit = if self.is_named { format!("limit={}&", self.limit) } else { String::new() };
        let cursor = cursor(path, after);
        page.with_total(total).with_header("link", format!("<{path}?{limit}after={cursor}>; rel=\"next\""))
    }

    fn read(list: &str, limit: Option<&str>, after: Option<&str>) -> Option<Page> {
        let after = match after {
            Some(after) => Some(read_cursor(list, after)?),
            None => None,
        };
        let Some(limit) = limit else { return Some(Page { limit: WHOLE, after, is_named: false }) };
        let limit = crate::path::id(limit).filter(|limit| *limit >= 1)?;
        let limit = u32::try_from(limit).map_or(LIMIT, |limit| limit.min(LIMIT));
        Some(Page { limit, after, is_named: true })
    }
}

/// Formats the cursor after an item: the checksum in eight hex digits, then the id. `list` is the path of the list.
fn cursor(list: &str, id: i64) -> String {
    format!("{:08x}{id:x}", check(list, id))
}

/// The id in a cursor. None if it is not exactly what [`cursor`] formats for this list.
fn read_cursor(list: &str, text: &str) -> Option<i64> {
    let id = i64::from_str_radix(text.get(8..)?, 16).ok()?;
    (cursor(list, id) == text).then_some(id)
}

/// The checksum of a cursor: FNV-1a with 32 bits.
fn check(list: &str, id: i64) -> u32 {
    let bytes = list.bytes().chain(id.to_be_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(response: Response) -> Option<String> {
        let headers = response.into_parts().1;
        headers.into_iter().find(|(name, _)| *name == "link").map(|(_, value)| value.into_owned())
    }

    #[test]
    fn a_page_has_link_and_total_if_there_is_a_next_one() {
        let answer = |limit, next| {
            let mut list = List::default();
            list.push(&4);
            list.push(&7);
            Page::read("/cats", limit, None).unwrap().answer("/cats", list.finish(), next)
        };
        let next = Next { after: 7, total: 9 };
        let cursor = cursor("/cats", 7);
        assert_eq!(link(answer(Some("2"), Some(next))), Some(format!("</cats?limit=2&after={cursor}>; rel=\"next\"")));
        assert_eq!(link(answer(None, Some(next))), Some(format!("</cats?after={cursor}>; rel=\"next\"")));
        let text = |response: Response| String::from_utf8(response.into_parts().2).unwrap();
        assert_eq!(text(answer(None, Some(next))), r#"{"success":true,"data":[4,7],"count":2,"total":9}"#);
        assert_eq!(text(answer(None, None)), r#"{"success":true,"data":[4,7],"count":2}"#);
        assert_eq!(link(answer(Some("2"), None)), None);
    }

    #[test]
    fn limits_are_digits_up_to_100_and_the_default_is_1000() {
        let read = |limit, after| Page::read("/cats", limit, after).map(|page| (page.limit, page.after, page.is_named));
        let twelfth = cursor("/cats", 12);
        assert_eq!(read(Some("7"), Some(&twelfth)), Some((7, Some(12), true)));
        assert_eq!(read(None, Some(&twelfth)), Some((1000, Some(12), false)));
        assert_eq!(read(None, None), Some((1000, None, false)));
        assert_eq!(read(Some("9000000000"), None), Some((100, None, true)));
        for bad in ["0", "-1", "1.5", "1e9", "", " 1", "x", "99999999999999999999"] {
            assert_eq!(read(Some(bad), None), None, "{bad:?}");
        }
        assert_eq!(read(Some("1"), Some("x")), None);
    }

    #[test]
    fn changed_and_foreign_cursors_are_refused() {
        for id in [0, 1, 9, 10, 16, 255, 1_000_000, i64::MAX] {
            let good = cursor("/cats", id);
            assert_eq!(read_cursor("/cats", &good), Some(id));
            assert_eq!((read_cursor("/dogs", &good), read_cursor("/cats/1", &good)), (None, None), "{good}");
            for (index, _) in good.char_indices() {
                for other in ["", "0", "1", "8", "a", "f", "A", "F", "-", "+", " ", "é", "00"] {
                    let changed = format!("{}{other}{}", &good[..index], &good[index + 1..]);
                    assert!(changed == good || read_cursor("/cats", &changed).is_none(), "{changed} for {good}");
                }
            }
            for changed in [format!("{good}0"), format!("0{good}"), good.to_uppercase(), id.to_string(), String::new()]
            {
                assert!(changed == good || read_cursor("/cats", &changed).is_none(), "{changed} for {good}");
            }
        }
    }
}
