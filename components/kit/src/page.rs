//! Lists in parts: `?limit=…` and `?after=…`, and the `Link` to the next part (RFC 8288).
//!
//! What stands after `after` is a cursor: opaque to clients, of one list alone, and with a check by which one that was changed, cut
//! off or taken from another list is refused. The check has no key. Whoever computes one names a place in a list that they may see
//! from its beginning, so a signature would keep nothing from anybody.

use serde::Serialize;

use crate::{Failure, Request, Response};

/// Items of one part, at the most. A larger limit counts as this one.
pub(crate) const LIMIT: u32 = 100;

/// Which part of a list a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many items, 1 to 100.
    pub limit: u32,
    /// The id of the last item of the part before, where this is not the first.
    pub after: Option<i64>,
}

impl Page {
    /// The part that a request asks for. None where it asks for the whole list.
    ///
    /// # Errors
    ///
    /// 400 `INVALID_PAGE` for a limit that is no positive integer, and for what is no cursor of this list after `after`.
    pub fn of(request: &Request) -> Result<Option<Page>, Failure> {
        let (limit, after) = (request.query("limit"), request.query("after"));
        if limit.is_none() && after.is_none() {
            return Ok(None);
        }
        let page = Page::read(request.path(), limit.as_deref(), after.as_deref());
        page.map(Some)
            .ok_or_else(|| Page::refused("limit is an integer from 1 to 100, after what the Link header says"))
    }

    /// The failure of a part that is not there.
    pub fn refused(why: &'static str) -> Failure {
        Failure::bad_request("INVALID_PAGE", why)
    }

    /// The part of a list that is ordered by id, from items of which there is one more than wanted where more follow.
    pub fn of_items<T: Serialize>(self, path: &str, mut items: Vec<T>, id: impl Fn(&T) -> i64) -> Response {
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next_after = items.last().filter(|_| more).map(id);
        self.answer(path, Response::list(&items), next_after)
    }

    fn read(list: &str, limit: Option<&str>, after: Option<&str>) -> Option<Page> {
        let limit = limit.map_or(Some(i64::from(LIMIT)), crate::path::id).filter(|limit| *limit >= 1)?;
        let after = match after {
            Some(after) => Some(read_cursor(list, after)?),
            None => None,
        };
        Some(Page { limit: u32::try_from(limit).map_or(LIMIT, |limit| limit.min(LIMIT)), after })
    }

    /// A part of a list, with the link to the next one if there is one, which begins after the item of this id.
    pub fn answer(self, path: &str, part: Response, next_after: Option<i64>) -> Response {
        match next_after {
            Some(after) => {
                let cursor = cursor(path, after);
                part.with_header("link", format!("<{path}?limit={}&after={cursor}>; rel=\"next\"", self.limit))
            }
            None => part,
        }
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

    #[test]
    fn a_part_links_to_the_next_one_where_more_follows() {
        let link = |items: &[i64]| {
            let part = Page { limit: 2, after: None }.of_items("/cats", items.to_vec(), |id| *id);
            let (_, headers, body) = part.into_parts();
            (headers, String::from_utf8(body).unwrap())
        };
        let (headers, body) = link(&[4, 7, 9]);
        let next = format!("</cats?limit=2&after={}>; rel=\"next\"", cursor("/cats", 7));
        assert_eq!(headers, [("link", next.into())]);
        assert_eq!(body, r#"{"success":true,"data":[4,7],"count":2}"#);
        assert_eq!(link(&[4, 7]).0, []);
        assert_eq!(link(&[]).1, r#"{"success":true,"data":[],"count":0}"#);
    }

    #[test]
    fn limits_are_digits_and_a_limit_is_at_most_a_hundred() {
        let read = |limit, after| Page::read("/cats", limit, after);
        let twelfth = cursor("/cats", 12);
        assert_eq!(read(Some("7"), Some(&twelfth)), Some(Page { limit: 7, after: Some(12) }));
        assert_eq!(read(None, Some(&twelfth)), Some(Page { limit: 100, after: Some(12) }));
        assert_eq!(read(Some("9000000000"), None), Some(Page { limit: 100, after: None }));
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
