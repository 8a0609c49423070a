//! The articles, written by the server.

use std::fmt::Write as _;

use kit::{Failure, Method, Request, Response, peer};
use serde::Deserialize;

use crate::shell::{self, Html};

/// The service that keeps products.
const ORDERS: &str = "orders";

/// Articles on one page.
const PAGE: usize = 50;

#[derive(Deserialize)]
struct Article {
    id: i64,
    name: String,
    price: f64,
    description: Option<String>,
    stock: i64,
}

/// The list of articles. `?after=7` continues it after the article 7.
pub(crate) fn list(request: &Request) -> Result<Response, Failure> {
    let after: u64 = request.query("after").and_then(|after| after.parse().ok()).unwrap_or_default();
    // One more than the page shows, to know whether there are more.
    let path = format!("/internal/products?after={after}&limit={}", PAGE + 1);
    let (status, mut body) = peer::call(ORDERS, Method::Get, &path, None)?;
    if status != 200 {
        kit::log::warn!("{ORDERS} answered {status} to a request for the products");
        return Err(Failure::unavailable("PEER_UNAVAILABLE", "The articles are not available now. Try again.", 1));
    }
    let mut articles: Vec<Article> = serde_json::from_value(body["data"].take()).map_err(Failure::internal)?;
    let has_more = articles.len() > PAGE;
    articles.truncate(PAGE);
    shell::page("Articles", &html(&articles, has_more, &shell::currency()?))
}

fn html(articles: &[Article], has_more: bool, currency: &str) -> String {
    let mut html = String::from("<h1>Articles</h1>\n<ul class=\"articles\">\n");
    for Article { id, name, price, description, stock } in articles {
        let description = Html::of(description.as_deref().unwrap_or_default());
        let _ = writeln!(
            html,
            "<li id=\"article-{id}\"><h2>{}</h2><p>{description}</p><p class=\"price\">{price:.2} {currency}</p><p>{}</p></li>",
            Html::of(name),
            if *stock > 0 { format!("{stock} in stock") } else { "Sold out".to_owned() }
        );
    }
    html.push_str("</ul>\n");
    if articles.is_empty() {
        html.push_str("<p>There are no more articles.</p>\n");
    }
    if let Some(last) = articles.last().filter(|_| has_more) {
        let _ = writeln!(html, "<p><a href=\"/?after={}\">More articles</a></p>", last.id);
    }
    html
}
