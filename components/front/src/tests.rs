//! Tests of the whole service, with stand-ins for auth and orders.

use kit::JsonValue;
use kit::native::{PeerCall, TestRequest, TestResponse, config, delete, get, install, on_peer, post, put};
use serde_json::json;

use crate::SERVICE;

fn header<'r>(response: &'r TestResponse, name: &str) -> &'r str {
    response.headers.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

fn products(count: i64) -> JsonValue {
    let product = |id: i64| json!({ "id": id, "name": format!("Cat {id}"), "price": 1299.5, "description": null, "stock": id - 1 });
    (1..=count).map(product).collect()
}

/// Orders with these products.
fn install_with(products: JsonValue) {
    install(&SERVICE);
    on_peer(move |call| {
        assert_eq!(call.service, "orders");
        Some((200, json!({ "success": true, "data": products })))
    });
}

#[test]
fn the_articles_are_html_without_a_script() {
    install_with(products(2));
    let page = get("/").send();
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    for text in ["<h2>Cat 2</h2>", "1299.50 EUR", "1 in stock", "Sold out"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert!(!page.text.contains("More articles"));
    assert!(header(&page, "content-security-policy").contains("script-src 'self';"));
}

#[test]
fn no_text_of_the_database_becomes_html() {
    let evil = "<script>alert(1)</script>\"'&{main}{style}";
    install_with(json!([{ "id": 1, "name": evil, "price": 1.0, "description": evil, "stock": 1 }]));
    let page = get("/").send();
    assert!(!page.text.contains("<script>alert"), "{}", page.text);
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;{main}{style}";
    assert_eq!(page.text.matches(escaped).count(), 2, "{}", page.text);
}

#[test]
fn a_long_list_continues_on_the_next_page() {
    install_with(products(51));
    let page = get("/").send();
    assert!(page.text.contains("<h2>Cat 50</h2>") && !page.text.contains("Cat 51"), "{}", page.text);
    assert!(page.text.contains("<a href=\"/?after=50\">More articles</a>"));
    on_peer(|call| {
        assert_eq!(call.path, "/internal/products?after=50&limit=51");
        Some((200, json!({ "data": [] })))
    });
    assert!(get("/?after=50").send().text.contains("There are no more articles."));
    on_peer(|_| Some((500, JsonValue::Null)));
    assert_eq!(get("/").send().outcome(), (503, "PEER_UNAVAILABLE"));
}

#[test]
fn every_page_refers_to_immutable_assets_that_exist() {
    install(&SERVICE);
    for path in
        ["/cart", "/login", "/register", "/my-orders", "/profile", "/admin/users", "/admin/stock", "/admin/orders"]
    {
        let page = get(path).send();
        assert_eq!((page.status, header(&page, "cache-control")), (200, "no-cache"), "{path}");
        for asset in page.text.split(['"']).filter(|part| part.starts_with("/assets/")) {
            let found = get(asset).send();
            assert_eq!(
                (found.status, header(&found, "cache-control")),
                (200, "public, max-age=31536000, immutable"),
                "{asset}"
            );
            assert!(!header(&found, "content-security-policy").is_empty());
        }
        assert_eq!(page.text.matches("/assets/").count(), 3, "{path}");
    }
}

#[test]
fn scripts_refer_to_each_other_by_immutable_names_and_make_no_html() {
    install(&SERVICE);
    for name in ["app", "admin", "api", "cart", "dom", "shop"] {
        let script = get(&format!("/assets/{name}.js")).send().text;
        for import in script.lines().filter(|line| line.starts_with("import ")) {
            let path = import.split('"').nth(1).unwrap();
            assert!(path.len() > "/assets/x.0123456789ab.js".len() - 1, "{name} imports {path}");
            assert_eq!(get(path).send().status, 200, "{path}");
        }
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
            assert!(!script.contains(forbidden), "{name} uses {forbidden}");
        }
    }
}

#[test]
fn the_currency_comes_from_the_configuration() {
    install(&SERVICE);
    config([("currency", "CHF")]);
    assert!(get("/cart").send().text.contains("data-currency=\"CHF\""));
    config([("currency", "\"><b>")]);
    assert_eq!(get("/cart").send().outcome(), (500, "INTERNAL_ERROR"));
}

/// Auth, with one session whose refresh token is `t=1`.
fn auth(call: &PeerCall) -> Option<(u16, JsonValue)> {
    assert_eq!((call.service.as_str(), call.path.as_str()), ("auth", "/internal/sessions"));
    let tokens = json!({ "data": {
        "access_token": "access", "refresh_token": "t=1", "expires_in": 3600, "refresh_expires_at": kit::now() + 2_592_000,
    } });
    let is_right = match call.method {
        kit::Method::Post => {
            call.body == json!({ "username": "ada", "password": "right", "client_address": "192.0.2.1" })
        }
        _ => call.body == json!({ "refresh_token": "t=1" }),
    };
    let refused = json!({ "success": false, "error": { "code": "INVALID_CREDENTIALS", "message": "No." } });
    Some(if is_right { (200, tokens) } else { (401, refused) })
}

/// A request of a page of this shop.
fn of_a_page(request: TestRequest) -> TestRequest {
    request.with_header("x-front", "1").with_header("sec-fetch-site", "same-origin")
}

fn sign_in(password: &str) -> TestRequest {
    let body = json!({ "username": "ada", "password": password });
    of_a_page(post("/session", body)).with_header("x-client-address", "192.0.2.1")
}

#[test]
fn a_login_puts_the_refresh_token_into_a_cookie_that_no_script_reads() {
    install(&SERVICE);
    on_peer(auth);
    let answer = sign_in("right").send();
    assert_eq!(answer.body["data"], json!({ "access_token": "access", "expires_in": 3600 }), "{}", answer.text);
    let cookie = header(&answer, "set-cookie");
    assert!(
        cookie.starts_with("session=t%3D1; Path=/session; Secure; SameSite=Strict; HttpOnly; Max-Age=25"),
        "{cookie}"
    );
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let refused = sign_in("wrong").send();
    assert_eq!((refused.outcome(), header(&refused, "set-cookie")), ((401, "INVALID_CREDENTIALS"), ""));
}

#[test]
fn the_cookie_renews_and_ends_the_session() {
    install(&SERVICE);
    on_peer(auth);
    let renew = |cookie: &str| of_a_page(put("/session", json!({}))).with_header("cookie", cookie).send();
    let renewed = renew("other=1; session=t%3D1");
    assert_eq!((renewed.status, &renewed.body["data"]["access_token"]), (200, &json!("access")));
    let refused = renew("session=old");
    assert_eq!((refused.status, header(&refused, "set-cookie")), (401, ""), "another tab may have a new cookie by now");
    assert_eq!(renew("other=1").outcome(), (401, "MISSING_TOKEN"));
    let close = |cookie: &str| of_a_page(delete("/session")).with_header("cookie", cookie).send();
    for cookie in ["session=t%3D1", "other=1"] {
        let closed = close(cookie);
        assert_eq!(closed.status, 200);
        assert_eq!(
            header(&closed, "set-cookie"),
            "session=; Path=/session; Secure; SameSite=Strict; HttpOnly; Max-Age=0"
        );
    }
    on_peer(|_| Some((503, json!({ "success": false, "error": { "code": "SERVICE_BUSY", "message": "Later." } }))));
    let late = close("session=t%3D1");
    assert_eq!((late.outcome(), header(&late, "set-cookie")), ((503, "SERVICE_BUSY"), ""));
}

#[test]
fn a_request_of_another_site_does_not_use_the_cookie() {
    install(&SERVICE);
    on_peer(|call| panic!("{call:?}"));
    let table: [(&[(&'static str, &str)], &str); 6] = [
        (&[], "a form cannot send x-front"),
        (&[("x-front", "1"), ("sec-fetch-site", "cross-site")], "another site"),
        (&[("x-front", "1"), ("sec-fetch-site", "same-site")], "another host of this site"),
        (&[("x-front", "1"), ("sec-fetch-site", "none")], "the address bar"),
        (&[("x-front", "1"), ("host", "shop.example"), ("origin", "https://evil.example")], "another origin"),
        (&[("x-front", "1"), ("host", "shop.example"), ("origin", "null")], "a hidden origin"),
    ];
    for (headers, why) in table {
        let with = |request: TestRequest| {
            headers.iter().fold(request, |request, (name, value)| request.with_header(name, value))
        };
        for request in [
            post("/session", json!({ "username": "ada", "password": "right" })),
            put("/session", json!({})),
            delete("/session"),
        ] {
            let refused = with(request).with_header("cookie", "session=t%3D1").send();
            assert_eq!(refused.outcome(), (403, "FORBIDDEN"), "{why}");
        }
    }
    on_peer(auth);
    let own = put("/session", json!({})).with_header("x-front", "1").with_header("cookie", "session=t%3D1");
    let own = own.with_header("host", "shop.example:8443").with_header("origin", "https://shop.example:8443");
    assert_eq!(own.send().status, 200, "a browser without Sec-Fetch-Site");
}
