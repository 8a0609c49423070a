//! Embedded pages: HTML, scripts, pictures and other files of a folder.
//!
//! ```ignore
//! kit::service! {
//!     name: "front",
//!     health: "/front/health",
//!     pages: kit::pages!("pages").with_headers(&[("content-security-policy", "default-src 'self'")]),
//!     routes: [],
//! }
//! ```
//!
//! [`pages!`](crate::pages!) embeds the folder `pages` beside `Cargo.toml` when the service is compiled. Its pages are public. With
//! `at "/shop/"` as a second argument, they are served there instead of at `/`.
//!
//! - `index.html` is served at its folder: `/`, `/help/`. `/help` leads there. All other files are served at their own names.
//! - Every response has a type by the extension of the file, a strong ETag, and `cache-control: no-cache`. So a browser asks each time,
//!   and the host answers 304 if it has the file already. After a deploy it never sees an old page.
//! - All files but HTML also have a name with a hash, such as `/app.3f2a1c9d04b7.js`, which is `immutable` for a year. In HTML, CSS,
//!   JavaScript and JSON, the macro replaces `"/app.js"` by this name. Only a whole path in quotes or parentheses is replaced.
//!   [`Pages::url`] gives the name to a route that writes HTML itself.
//! - After a deploy, the host still answers for immutable names of the previous revisions that it keeps. So a page that was loaded just
//!   before finds its assets.
//! - Only embedded files are served. No path of a request reaches a file system.
//! - The host's response cache answers without an instance, and the host compresses and answers HEAD.
//!
//! Limits: 400 files, 4 MiB each, 8 MiB together. Names have letters of ASCII, digits, `-`, `.`, `_` and `~`. Names that begin with a
//! dot are left out, except `.well-known`. The response cache keeps files up to 512 KiB. Cargo compiles the service again if an
//! embedded file changes. So that it also notices a new file, add a `build.rs` with
//! `fn main() { println!("cargo:rerun-if-changed=pages") }`.

use crate::Response;

/// The pages of a service, in the order of their paths. [`pages!`](crate::pages!) makes them.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    pages: &'static [Page],
    names: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    /// Finds a page and makes its response. A function pointer, because a direct call would make every component larger.
    respond: Option<fn(&Pages, &str) -> Option<Response>>,
}

/// A path and what is served there.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Page {
    path: &'static str,
    content: Content,
}

/// What a path serves.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub enum Content {
    Body { content_type: &'static str, etag: &'static str, is_immutable: bool, bytes: &'static [u8] },
    Redirect(&'static str),
}

#[doc(hidden)]
impl Page {
    pub const fn new(path: &'static str, content: Content) -> Page {
        Page { path, content }
    }
}

impl Pages {
    /// No pages.
    pub const NONE: Pages = Pages { pages: &[], names: &[], headers: &[], respond: None };

    /// For [`pages!`](crate::pages!). Cargo notes the source files because the macro takes their lengths.
    #[doc(hidden)]
    pub const fn new(
        pages: &'static [Page],
        names: &'static [(&'static str, &'static str)],
        _source_bytes: &'static [usize],
    ) -> Pages {
        Pages { pages, names, headers: &[], respond: Some(Pages::find) }
    }

    /// Adds headers to every page, such as a content security policy. Names must be in lower case.
    #[must_use]
    pub const fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Pages {
        Pages { headers, ..self }
    }

    /// The immutable name of a file: `/app.3f2a1c9d04b7.js` for `/app.js`. Returns the path itself if there is none.
    pub fn url<'p>(&self, path: &'p str) -> &'p str
    where
        'static: 'p,
    {
        let found = self.names.binary_search_by(|(plain, _)| (*plain).cmp(path));
        found.map_or(path, |index| self.names[index].1)
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.pages.iter().map(|page| page.path)
    }

    /// The response for a path.
    pub(crate) fn response(&self, path: &str) -> Option<Response> {
        self.respond.and_then(|respond| respond(self, path))
    }

    fn find(&self, path: &str) -> Option<Response> {
        let index = self.pages.binary_search_by(|page| page.path.cmp(path)).ok()?;
        let response = match self.pages[index].content {
            Content::Redirect(to) => Response::redirect(to).with_status(308),
            Content::Body { content_type, etag, is_immutable, bytes } => {
                let caching = if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
                let response = Response::raw(content_type, bytes).with_header("etag", etag);
                response.with_header("cache-control", caching).with_header("x-content-type-options", "nosniff")
            }
        };
        Some(self.headers.iter().fold(response, |response, (name, value)| response.with_header(name, *value)))
    }
}
