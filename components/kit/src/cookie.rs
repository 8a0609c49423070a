//! Cookies (RFC 6265).

use std::fmt;

/// A cookie for [`Response::with_cookie`](crate::Response::with_cookie).
///
/// By default, the browser sends it over TLS alone, hides it from scripts, does not send it with requests that other sites start
/// (`SameSite=Lax`), and deletes it when it closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: &'static str,
    value: String,
    path: &'static str,
    max_age_seconds: Option<u32>,
    is_for_scripts: bool,
    is_strict: bool,
}

impl Cookie {
    /// A cookie for all paths. Percent-encodes the value, except unreserved characters.
    pub fn new(name: &'static str, value: &str) -> Cookie {
        let value = crate::encode(value);
        Cookie { name, value, path: "/", max_age_seconds: None, is_for_scripts: false, is_strict: false }
    }

    /// Deletes the client's cookie with this name.
    pub fn removed(name: &'static str) -> Cookie {
        Cookie::new(name, "").kept_for(0)
    }

    /// How long the client keeps it, in seconds.
    #[must_use]
    pub fn kept_for(self, seconds: u32) -> Cookie {
        Cookie { max_age_seconds: Some(seconds), ..self }
    }

    /// Sends it only to this path and those below. To delete such a cookie, give the same path.
    #[must_use]
    pub fn at(self, path: &'static str) -> Cookie {
        Cookie { path, ..self }
    }

    /// Never sends it with a request that another site starts, also if the user follows a link (`SameSite=Strict`).
    #[must_use]
    pub fn strict(self) -> Cookie {
        Cookie { is_strict: true, ..self }
    }

    /// Lets scripts of the page read it.
    #[must_use]
    pub fn for_scripts(self) -> Cookie {
        Cookie { is_for_scripts: true, ..self }
    }
}

/// The value of `Set-Cookie`.
impl fmt::Display for Cookie {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same_site = if self.is_strict { "Strict" } else { "Lax" };
        write!(out, "{}={}; Path={}; Secure; SameSite={same_site}", self.name, self.value, self.path)?;
        if !self.is_for_scripts {
            out.write_str("; HttpOnly")?;
        }
        match self.max_age_seconds {
            Some(seconds) => write!(out, "; Max-Age={seconds}"),
            None => Ok(()),
        }
    }
}

/// The first value of a cookie in `Cookie` headers. Not decoded.
pub(crate) fn find<'a>(fields: impl Iterator<Item = &'a [u8]>, wanted: &str) -> Option<&'a str> {
    let texts = fields.filter_map(|field| std::str::from_utf8(field).ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_safe_by_default() {
        let cookie = Cookie::new("cat", "Tom; é");
        assert_eq!(cookie.to_string(), "cat=Tom%3B%20%C3%A9; Path=/; Secure; SameSite=Lax; HttpOnly");
        let seen = Cookie::new("cat", "Tom").kept_for(60).for_scripts();
        assert_eq!(seen.to_string(), "cat=Tom; Path=/; Secure; SameSite=Lax; Max-Age=60");
        let strict = Cookie::new("cat", "Tom").at("/session").strict();
        assert_eq!(strict.to_string(), "cat=Tom; Path=/session; Secure; SameSite=Strict; HttpOnly");
        assert!(Cookie::removed("cat").to_string().ends_with("; Max-Age=0"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let fields: [&[u8]; 3] = [b"\xff=1", b"cats=1; cat=Tom=2 ;x", b"cat=later"];
        let found = |name| find(fields.into_iter(), name);
        assert_eq!((found("cat"), found("cats"), found("x"), found("ca")), (Some("Tom=2"), Some("1"), None, None));
    }
}
