#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! The macro `kit::pages!`. Use it through the crate `kit`, whose module `pages` describes it.

mod folder;
mod site;

use std::fmt::Write as _;
use std::path::Path;

use proc_macro::{Literal, TokenStream, TokenTree};

use site::{Content, Site};

/// Embeds a folder of pages: `kit::pages!("pages")`. See the module `kit::pages`.
#[proc_macro]
pub fn pages(input: TokenStream) -> TokenStream {
    let code = embed(input).unwrap_or_else(|why| format!("::core::compile_error!({why:?})"));
    code.parse().expect("the generated code has Rust's grammar")
}

fn embed(input: TokenStream) -> Result<String, String> {
    let (name, mount) = arguments(input)?;
    let package = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "pages! needs cargo".to_owned())?;
    let files = folder::read(&Path::new(&package).join(&name)).map_err(|why| format!("{name}: {why}"))?;
    let site = Site::new(files, &mount).map_err(|why| format!("{name}: {why}"))?;
    Ok(code(&site))
}

/// The folder and the path at which it is served.
fn arguments(input: TokenStream) -> Result<(String, String), String> {
    let tokens: Vec<TokenTree> = input.into_iter().collect();
    let (folder, mount) = match tokens.as_slice() {
        [TokenTree::Literal(folder)] => (text(folder), Some("/".to_owned())),
        [TokenTree::Literal(folder), TokenTree::Punct(comma), TokenTree::Ident(at), TokenTree::Literal(mount)]
            if comma.as_char() == ',' && at.to_string() == "at" =>
        {
            (text(folder), text(mount))
        }
        _ => (None, None),
    };
    folder.zip(mount).ok_or_else(|| "write pages!(\"folder\"), or pages!(\"folder\", at \"/path/\")".to_owned())
}

/// The text of a plain string literal.
fn text(literal: &Literal) -> Option<String> {
    let literal = literal.to_string();
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then(|| text.to_owned())
}

/// The expression of type `kit::pages::Pages`. The files are in the order of their paths.
fn code(site: &Site) -> String {
    let mut code = String::from("::kit::pages::Pages::new(&[");
    for page in &site.pages {
        let _ = write!(code, "::kit::pages::Page::new({:?}, ", page.path);
        let _ = match &page.content {
            Content::Redirect(to) => write!(code, "::kit::pages::Content::Redirect({to:?})"),
            Content::Body { content_type, etag, is_immutable, bytes } => write!(
                code,
                "::kit::pages::Content::Body {{ content_type: {content_type:?}, etag: {etag:?}, is_immutable: {is_immutable}, \
                 bytes: {} }}",
                Literal::byte_string(bytes)
            ),
        };
        code.push_str("),");
    }
    code.push_str("], &[");
    for (path, immutable) in &site.names {
        let _ = write!(code, "({path:?}, {immutable:?}),");
    }
    // Cargo compiles the service again if one of these files changes.
    code.push_str("], &[");
    for file in &site.sources {
        let _ = write!(code, "::core::include_bytes!({:?}).len(),", file.display().to_string());
    }
    code.push_str("])");
    code
}
