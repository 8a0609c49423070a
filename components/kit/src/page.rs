//! Lists in parts: `?limit=…` and `?after=…`, and the `Link` to the next part (RFC 8288).

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
    /// 400 `INVALID_PAGE` for a limit that is no positive integer, and for what is no id after `after`.
    pub fn of(request: &Request) -> Result<Option<Page>, Failure> {
        let (limit, after) = (request.query("limit"), request.query("after"));
        if limit.is_none() && after.is_none() {
            return Ok(None);
        }
        let page = Page::read(limit.as_deref(), after.as_deref());
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

    fn read(limit: Option<&str>, after: Option<&str>) -> Option<Page> {
        let number = |text: &str| crate::path::id(text);
        let limit = limit.map_or(Some(i64::from(LIMIT)), number).filter(|limit| *limit >= 1)?;
        let after = match after {
            Some(after) => Some(number(after)?),
            None => None,
        };
        Some(Page { limit: u32::try_from(limit).map_or(LIMIT, |limit| limit.min(LIMIT)), after })
    }

    /// A part of a list, with the link to the next one if there is one, which begins after the item of this id.
    pub fn answer(self, path: &str, part: Response, next_after: Option<i64>) -> Response {
        match next_after {
            Some(after) => {
                part.with_header("link", format!("<{path}?limit={}&after={after}>; rel=\"next\"", self.limit))
            }
            None => part,
        }
    }
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
        assert_eq!(headers, [("link", "</cats?limit=2&after=7>; rel=\"next\"".into())]);
        assert_eq!(body, r#"{"success":true,"data":[4,7],"count":2}"#);
        assert_eq!(link(&[4, 7]).0, []);
        assert_eq!(link(&[]).1, r#"{"success":true,"data":[],"count":0}"#);
    }

    #[test]
    fn limits_and_ids_are_digits_and_a_limit_is_at_most_a_hundred() {
        assert_eq!(Page::read(Some("7"), Some("12")), Some(Page { limit: 7, after: Some(12) }));
        assert_eq!(Page::read(None, Some("12")), Some(Page { limit: 100, after: Some(12) }));
        assert_eq!(Page::read(Some("9000000000"), None), Some(Page { limit: 100, after: None }));
        for bad in ["0", "-1", "1.5", "1e9", "", " 1", "x", "99999999999999999999"] {
            assert_eq!(Page::read(Some(bad), None), None, "{bad:?}");
        }
        assert_eq!(Page::read(Some("1"), Some("x")), None);
    }
}
