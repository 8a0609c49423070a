//! What is served at which path: types, tags, immutable names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::folder::File;

/// Bytes of the hash in a tag. By chance, two contents share a tag once in 2^64 contents.
const TAG_BYTES: usize = 16;

/// Hexadecimal digits of the hash in an immutable name.
const NAME_DIGITS: usize = 12;

/// A path and what is served there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// What a path serves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Body { content_type: &'static str, etag: String, is_immutable: bool, bytes: Vec<u8> },
    Redirect(String),
}

/// A folder, ready to be served.
#[derive(Debug)]
pub(crate) struct Site {
    /// In the order of their paths.
    pub(crate) pages: Vec<Page>,
    /// Plain paths with their immutable paths, in their order.
    pub(crate) names: Vec<(String, String)>,
    pub(crate) sources: Vec<PathBuf>,
}

impl Site {
    /// Serves files at a mount, which begins and ends with a slash.
    pub(crate) fn new(files: Vec<File>, mount: &str) -> Result<Site, String> {
        let is_mount = mount.starts_with('/') && mount.ends_with('/') && !mount.contains("//");
        if !is_mount || mount.contains(['{', '}', '%', '?', '#', ' ']) {
            let example = "write a path with a slash at both ends, such as /shop/";
            return Err(format!("it cannot be served at {mount}: {example}"));
        }
        let sources = files.iter().map(|file| file.source.clone()).collect();
        let files = files.into_iter().map(|file| (format!("{mount}{}", file.name), file.bytes)).collect();
        let mut contents = Contents { files, finished: BTreeMap::new(), open: Vec::new() };
        let paths: Vec<String> = contents.files.keys().cloned().collect();
        paths.iter().for_each(|path| contents.finish(path));
        let mut site = Site { pages: Vec::new(), names: Vec::new(), sources };
        contents.finished.into_iter().for_each(|(path, finished)| site.add(path, &finished, mount));
        site.pages.sort_by(|one, other| one.path.cmp(&other.path));
        match site.pages.windows(2).find(|two| two[0].path == two[1].path) {
            Some(two) => Err(format!("two files would be served at {}: rename one", two[0].path)),
            None => Ok(site),
        }
    }

    /// Adds the paths of one file.
    fn add(&mut self, path: String, finished: &Finished, mount: &str) {
        if let Some(immutable) = &finished.immutable {
            self.pages.push(Page { path: immutable.clone(), content: finished.body(&path, true) });
            self.names.push((path.clone(), immutable.clone()));
        }
        let content = finished.body(&path, false);
        let folder = path.strip_suffix("index.html").filter(|folder| folder.ends_with('/')).map(str::to_owned);
        if let Some(folder) = folder.as_ref().filter(|folder| *folder != mount) {
            let without_slash = folder.trim_end_matches('/').to_owned();
            self.pages.push(Page { path: without_slash, content: Content::Redirect(folder.clone()) });
        }
        self.pages.push(Page { path: folder.unwrap_or(path), content });
    }
}

/// A file with its references replaced.
struct Finished {
    bytes: Vec<u8>,
    hash: String,
    /// None for HTML, whose address people keep.
    immutable: Option<String>,
}

impl Finished {
    fn body(&self, path: &str, is_immutable: bool) -> Content {
        Content::Body {
            content_type: content_type(path),
            etag: format!("\"{}\"", &self.hash[..2 * TAG_BYTES]),
            is_immutable,
            bytes: self.bytes.clone(),
        }
    }
}

/// Replaces references between files by immutable names. A file's own name depends on its references, so those come first.
struct Contents {
    files: BTreeMap<String, Vec<u8>>,
    finished: BTreeMap<String, Finished>,
    /// The files whose references are being finished.
    open: Vec<String>,
}

impl Contents {
    fn finish(&mut self, path: &str) {
        if self.finished.contains_key(path) || self.open.iter().any(|open| open == path) {
            return;
        }
        let mut bytes = self.files[path].clone();
        if has_references(path)
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            self.open.push(path.to_owned());
            let text = self.replaced(text);
            self.open.pop();
            bytes = text.into_bytes();
        }
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let immutable = (!is_html(path)).then(|| immutable(path, &hash[..NAME_DIGITS]));
        self.finished.insert(path.to_owned(), Finished { bytes, hash, immutable });
    }

    /// The text with immutable names. Only a whole path in quotes or parentheses is a reference: `"/app.js"`, `'/app.js'`,
    /// `(/app.js)`. Files that refer to each other keep a plain name, because neither could be finished first.
    fn replaced(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        let paths: Vec<String> = self.files.keys().cloned().collect();
        for path in paths {
            let forms = [('"', '"'), ('\'', '\''), ('(', ')')]
                .map(|(open, close)| (open, close, format!("{open}{path}{close}")));
            if !forms.iter().any(|(_, _, form)| text.contains(form)) {
                continue;
            }
            self.finish(&path);
            if let Some(name) = self.finished.get(&path).and_then(|finished| finished.immutable.as_ref()) {
                for (open, close, form) in forms {
                    text = text.replace(&form, &format!("{open}{name}{close}"));
                }
            }
        }
        text
    }
}

fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_html(path: &str) -> bool {
    matches!(extension(path), "html" | "htm")
}

fn has_references(path: &str) -> bool {
    matches!(extension(path), "html" | "htm" | "css" | "js" | "mjs" | "svg" | "json" | "webmanifest")
}

/// `/assets/app.js` with its hash: `/assets/app.3f2a1c9d04b7.js`.
fn immutable(path: &str, digits: &str) -> String {
    match extension(path) {
        "" => format!("{path}.{digits}"),
        extension => format!("{}{digits}.{extension}", &path[..path.len() - extension.len()]),
    }
}

/// The media type of a file, by its extension (the registry of IANA, and RFC 9239 for scripts).
fn content_type(path: &str) -> &'static str {
    match extension(path) {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(mount: &str, files: &[(&str, &str)]) -> Result<Site, String> {
        let file = |(name, text): &(&str, &str)| File {
            source: PathBuf::new(),
            name: (*name).to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        Site::new(files.iter().map(file).collect(), mount)
    }

    fn paths(site: &Site) -> Vec<&str> {
        site.pages.iter().map(|page| page.path.as_str()).collect()
    }

    fn text<'s>(site: &'s Site, path: &str) -> &'s str {
        let page = site.pages.iter().find(|page| page.path == path).unwrap();
        let Content::Body { bytes, .. } = &page.content else { panic!("{path} is a redirect") };
        std::str::from_utf8(bytes).unwrap()
    }

    fn immutable_of<'s>(site: &'s Site, path: &str) -> &'s str {
        &site.names.iter().find(|(name, _)| name == path).unwrap().1
    }

    #[test]
    fn an_asset_has_two_names_and_html_has_one() {
        let site =
            site("/", &[("a.css", "x"), ("index.html", "y"), ("help/index.html", "z"), ("LICENSE", "")]).unwrap();
        // The first digits of the SHA-256 of "" and "x".
        assert_eq!(
            paths(&site),
            ["/", "/LICENSE", "/LICENSE.e3b0c44298fc", "/a.2d711642b726.css", "/a.css", "/help", "/help/"]
        );
        assert_eq!(site.pages[5].content, Content::Redirect("/help/".to_owned()));
        let Content::Body { content_type, etag, is_immutable, .. } = &site.pages[3].content else { panic!() };
        assert_eq!(
            (*content_type, etag.as_str(), *is_immutable),
            ("text/css; charset=utf-8", "\"2d711642b726b04401627ca9fbac32f5\"", true)
        );
        let Content::Body { content_type, is_immutable, .. } = &site.pages[4].content else { panic!() };
        assert_eq!((*content_type, *is_immutable), ("text/css; charset=utf-8", false));
    }

    #[test]
    fn whole_paths_in_quotes_or_parentheses_become_immutable_names() {
        let html =
            r#"<link href="/s/a.css"><script src='/s/a.js'></script><a href="/s/help.html">/s/a.css "/s/a.css?x"</a>"#;
        let files = [
            ("a.css", "body { background: url(/s/b.png) }"),
            ("a.js", "import x from \"/s/c.js\""),
            ("b.png", "picture"),
            ("c.js", "export default 1"),
            ("help.html", html),
        ];
        let first = site("/s/", &files).unwrap();
        let name = |site: &Site, path: &str| immutable_of(site, path).to_owned();
        assert!(text(&first, "/s/a.css").contains(&format!("url({})", name(&first, "/s/b.png"))));
        assert_eq!(text(&first, &name(&first, "/s/a.js")), format!("import x from \"{}\"", name(&first, "/s/c.js")));
        let html = text(&first, "/s/help.html");
        assert!(html.contains(&format!(
            "href=\"{}\"><script src='{}'",
            name(&first, "/s/a.css"),
            name(&first, "/s/a.js")
        )));
        assert!(html.ends_with(r#"<a href="/s/help.html">/s/a.css "/s/a.css?x"</a>"#), "{html}");

        let mut files = files;
        files[2].1 = "another picture";
        let second = site("/s/", &files).unwrap();
        assert_ne!(name(&first, "/s/a.css"), name(&second, "/s/a.css"), "the name depends on what the file refers to");
        assert_eq!(name(&first, "/s/a.js"), name(&second, "/s/a.js"));
    }

    #[test]
    fn files_that_refer_to_each_other_are_finished() {
        let site = site("/", &[("a.js", "import '/b.js'"), ("b.js", "import '/a.js'")]).unwrap();
        assert_eq!(text(&site, "/b.js"), "import '/a.js'");
        assert_eq!(text(&site, "/a.js"), format!("import '{}'", immutable_of(&site, "/b.js")));
    }

    #[test]
    fn a_site_that_cannot_be_served_is_an_error() {
        for mount in ["", "shop", "/shop", "//", "/{id}/", "/a b/"] {
            assert!(site(mount, &[("a", "")]).unwrap_err().contains("cannot be served at"), "{mount}");
        }
        let twice = site("/", &[("help", ""), ("help.e3b0c44298fc", "")]);
        assert_eq!(twice.unwrap_err(), "two files would be served at /help.e3b0c44298fc: rename one");
    }
}
