//! Lists in pages: `?limit=…` and `?after=…`, and the `Link` to the next page (RFC 8288).
//!
//! A request that names no limit gets up to 1,000 items, which is all of most lists. If there are more, the answer says so with a
//! `Link` to the next page and the `total` of the list. A page of very long items ends earlier, after 8 MiB. No list is read or
//! written without a bound.
//!
//! What stands after `after` is a cursor: opaque to clients, of one list alone, and with a check by which one that was changed, cut
//! off or taken from another list is refused. The check has no key. Whoever computes one names a place in a list that they may see
//! from its beginning, so a signature would keep nothing from anybody.

use crate::response::List;
use crate::storage::{self, Row, Rows};
use crate::{Failure, Request, Response};

/// Items of a page at the most, if the request names no limit.
const WHOLE: u32 = 1_000;

/// Items of a page at the most, if the request names a limit. A larger limit counts as this one.
const LIMIT: u32 = 100;

/// Bytes of a page after which no further item is added. A component has 64 MiB of memory unless the manifest says otherwise, and a
/// body needs three times its length while it grows.
const BYTES: usize = 8 << 20;

/// Rows that one statement reads. The host bounds a result to 4 MiB, so a row of such a list may have 20 KiB.
const ROWS_AT_ONCE: u32 = 200;

/// Which page of a list a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many items: 1 to 100, or 1,000 if the request names no limit.
    pub limit: u32,
    /// The id of the last item of the page before. None for the first page.
    pub after: Option<i64>,
    /// Whether the request names the limit. Then the link to the next page does too.
    is_named: bool,
}

/// Where the next page of a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The id of the last item of this page.
    pub after: i64,
    /// How many items the whole list has.
    pub total: i64,
}

impl Page {
    /// The page that a request asks for.
    ///
    /// # Errors
    ///
    /// 400 `INVALID_PAGE` for a limit that is no positive integer, and for what is no cursor of this list after `after`.
    pub fn of(request: &Request) -> Result<Page, Failure> {
        let (limit, after) = (request.query("limit"), request.query("after"));
        let page = Page::read(request.path(), limit.as_deref(), after.as_deref());
        page.ok_or_else(|| Page::refused("limit is an integer from 1 to 100, after what the Link header says"))
    }

    /// The failure of a page that is not there.
    pub fn refused(why: &'static str) -> Failure {
        Failure::bad_request("INVALID_PAGE", why)
    }

    /// The page of a list that is ordered by id.
    ///
    /// `read` gives so many rows whose ids are above one, by id. `write` adds the item in a row and gives its id. `total` counts
    /// the whole list, if there is a next page.
    ///
    /// # Errors
    ///
    /// What storage says.
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

    /// A page of a list, with the link to the next one and the total if there is a next one.
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

/// The cursor behind an item of a list, which is named by its path: the check in eight hex digits, and the id.
fn cursor(list: &str, id: i64) -> String {
    format!("{:08x}{id:x}", check(list, id))
}

/// The id in a cursor of this list, written as [`cursor`] writes it.
fn read_cursor(list: &str, text: &str) -> Option<i64> {
    let id = i64::from_str_radix(text.get(8..)?, 16).ok()?;
    (cursor(list, id) == text).then_some(id)
}

/// FNV-1a in 32 bits.
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
    fn a_page_links_to_the_next_one_and_gives_the_total_if_there_is_one() {
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
    fn a_limit_is_digits_and_at_most_a_hundred_and_without_one_a_page_has_a_thousand() {
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
    fn a_cursor_that_was_changed_anywhere_or_is_of_another_list_is_none() {
        for id in [0, 1, 9, 10, 16, 255, 1_000_000, i64::MAX] {
            let good = cursor("/cats", id);
            assert_eq!(read_cursor("/cats", &good), Some(id));
            assert_eq!((read_cursor("/dogs", &good), read_cursor("/cats/1", &good)), (None, None), "{good}");
            for (place, _) in good.char_indices() {
                for other in ["", "0", "1", "8", "a", "f", "A", "F", "-", "+", " ", "é", "00"] {
                    let changed = format!("{}{other}{}", &good[..place], &good[place + 1..]);
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
