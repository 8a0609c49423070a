//! The HTML around each page, and its headers.

use kit::{Failure, Response, config};

use crate::SERVICE;

/// For every page and every asset. No inline script or style, no markup from text, nothing from another host, no frame.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "same-origin"),
];

const SHELL: &str = include_str!("shell.html");

/// A text as HTML. The only way from a text to a page.
pub(crate) struct Html(String);

impl Html {
    /// Escapes a text for elements and for attributes in double quotes (HTML, section 13.3).
    pub(crate) fn of(text: &str) -> Html {
        let mut html = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                _ => html.push(character),
            }
        }
        Html(html)
    }
}

impl std::fmt::Display for Html {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// The currency of all prices, from the manifest. EUR if it says nothing.
pub(crate) fn currency() -> Result<String, Failure> {
    let currency = config::get("currency").unwrap_or_else(|| "EUR".to_owned());
    let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code {
        return Ok(currency);
    }
    Err(Failure::internal(
        "the configuration `currency` must be a code of ISO 4217 such as \"EUR\": correct it in the manifest",
    ))
}

/// What stands on a page until the script has written it.
pub(crate) fn script_needed(title: &str) -> String {
    format!(
        "<h1>{}</h1>\n<noscript><p>This page needs JavaScript. The <a href=\"/\">articles</a> do not.</p></noscript>",
        Html::of(title)
    )
}

/// A page. `main` is HTML.
pub(crate) fn page(title: &str, main: &str) -> Result<Response, Failure> {
    let asset = |path| SERVICE.pages.url(path);
    let html = SHELL
        .replace("{currency}", &currency()?)
        .replace("{icon}", asset("/assets/icon.svg"))
        .replace("{style}", asset("/assets/style.css"))
        .replace("{script}", asset("/assets/app.js"))
        .replace("{title}", &Html::of(title).to_string())
        // Last, because a text in it may contain a placeholder.
        .replace("{main}", main);
    let response = Response::raw("text/html; charset=utf-8", html).with_header("cache-control", "no-cache");
    let response = response.with_header("x-content-type-options", "nosniff");
    Ok(HEADERS.into_iter().fold(response, |response, (name, value)| response.with_header(name, value)))
}
