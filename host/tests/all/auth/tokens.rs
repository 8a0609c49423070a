//! Access tokens: their claims, their signing key, and which tokens are refused.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;
use testing::{Answer, Client, PASSWORD, Shop};

use super::forge::{Forge, sign_encoded, signed_with, unsigned};
use super::{claims, members, seen, segment, verify};

/// Secrets that everybody knows: that of the original shop, and those of tutorials.
const PUBLIC_SECRETS: [&str; 6] = [
    "your-secret-key",
    "your-secret-key-change-in-production",
    "your-secret-key-change-this-in-production",
    "super-secret-key",
    "secret",
    "",
];

#[tokio::test]
async fn an_access_token_has_the_claims_of_rfc_9068() {
    let shop = Shop::open().await;
    let (user, admin) = (shop.user("marta").await, shop.admin().await);
    let header = segment(user.access_token(), 0);
    assert_eq!(members(&header), ["alg", "kid", "typ"]);
    assert_eq!(header["typ"], "at+jwt");
    assert!(header["kid"].as_str().is_some_and(|kid| !kid.is_empty()));

    let said = claims(user.access_token());
    let expected = ["aud", "client_id", "exp", "iat", "iss", "jti", "roles", "sid", "sub", "type"];
    assert_eq!(members(&said), expected);
    assert_eq!((&said["sub"], &said["type"], &said["roles"]), (&json!("marta"), &json!("access"), &json!(["user"])));
    assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 3600);
    for text in ["iss", "aud", "client_id", "jti", "sid"] {
        assert!(said[text].as_str().is_some_and(|text| !text.is_empty()), "{text}");
    }
    assert_eq!(claims(admin.access_token())["roles"], json!(["admin"]));

    let again = shop.anon().log_in("marta", PASSWORD).await;
    assert_ne!(claims(again.access_token())["sid"], said["sid"], "each login opens a session");
    assert_ne!(claims(again.access_token())["jti"], said["jti"]);
}

#[tokio::test]
async fn each_installation_has_its_own_key() {
    let (here, elsewhere) = (Shop::open().await, Shop::open().await);
    let key = |shop: &Shop| std::fs::read(shop.data.path().join("signing.key")).unwrap();
    assert_eq!(key(&here).len(), 32);
    assert_ne!(key(&here), key(&elsewhere));
    let mode = std::fs::metadata(here.data.path().join("signing.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let admin = elsewhere.admin().await;
    let kid = |client: &Client| segment(client.access_token(), 0)["kid"].clone();
    assert_ne!(kid(&here.admin().await), kid(&admin));
    here.anon().with_token(admin.access_token()).get("/users").await.refuses(401, "INVALID_TOKEN");
    verify(&here.anon(), admin.access_token()).await.refuses(401, "INVALID_TOKEN");
}

/// Asserts that a route and `/auth/verify` each refuse all tokens with the same answer.
async fn assert_refused(shop: &Shop, forgeries: &[(&str, String)]) {
    let refused = shop.anon().with_token("nonsense").get("/orders").await;
    let not_verified = verify(&shop.anon(), "nonsense").await;
    for answer in [&refused, &not_verified] {
        answer.refuses(401, "INVALID_TOKEN");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let body = |answer: &Answer| seen(answer).2;
    assert_eq!(body(&refused), body(&not_verified));
    for (reason, token) in forgeries {
        let answer = shop.anon().with_token(token).get("/orders").await;
        assert_eq!(seen(&answer), seen(&refused), "{reason}: {token}");
        let answer = verify(&shop.anon(), token).await;
        assert_eq!(seen(&answer), seen(&not_verified), "{reason}: {token}");
    }
}

#[tokio::test]
async fn a_token_with_a_wrong_header_and_a_valid_signature_is_refused() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let forge = Forge::of(&shop, user.access_token());
    let same = forge.signed(&forge.header, forge.payload.to_string());
    shop.anon().with_token(&same).get("/orders").await.succeeds(200);

    let (header, payload) = (&forge.header, &forge.payload);
    let text = payload.to_string();
    let kid = segment(user.access_token(), 0)["kid"].as_str().unwrap().to_owned();
    let swapped = |name: &str, algorithm| signed_with(&forge.key, algorithm, &header.replace("HS256", name), &text);
    let attacker = r#""jwk":{"kty":"oct","k":"YXR0YWNrZXI"}"#;
    let own_key = header.replacen('{', &format!("{{{attacker},"), 1);
    let forgeries = [
        ("no algorithm, no signature", unsigned(&header.replace("HS256", "none"), payload)),
        ("no algorithm, in mixed case", unsigned(&header.replace("HS256", "nOnE"), payload)),
        ("no algorithm, yet signed", forge.with_header("HS256", "none")),
        ("a plain header without algorithm", unsigned(r#"{"alg":"none","typ":"JWT"}"#, payload)),
        ("the key taken for an RSA key", swapped("RS256", Algorithm::HS256)),
        ("the key taken for an elliptic curve", swapped("ES256", Algorithm::HS256)),
        ("a longer HMAC", swapped("HS512", Algorithm::HS512)),
        ("another HMAC", swapped("HS384", Algorithm::HS384)),
        ("a longer HMAC under our header", signed_with(&forge.key, Algorithm::HS512, header, &text)),
        ("two algorithms", forge.with_member(r#""alg":"none""#)),
        ("an unknown key", forge.with_header(&kid, "0123456789abcdef")),
        ("a key that is a path", forge.with_header(&kid, "../../../../dev/null")),
        ("a key that is SQL", forge.with_header(&kid, "' UNION SELECT 'x")),
        ("no key named", forge.with_header(&format!(r#","kid":"{kid}""#), "")),
        ("keys from a URL", forge.with_member(r#""jku":"https://example.com/keys""#)),
        ("a certificate from a URL", forge.with_member(r#""x5u":"https://example.com/key.pem""#)),
        ("a certificate in the token", forge.with_member(r#""x5c":["MIIB"]"#)),
        ("a key in the token", signed_with(b"attacker", Algorithm::HS256, &own_key, &text)),
        ("an extension that must be understood", forge.with_member(r#""crit":["exp"]"#)),
        ("an unencoded payload", forge.with_member(r#""b64":false,"crit":["b64"]"#)),
        ("a compressed payload", forge.with_member(r#""zip":"DEF""#)),
        ("a token of another type", forge.with_header("at+jwt", "JWT")),
        ("an id token", forge.with_header("at+jwt", "id+jwt")),
        ("no type", forge.with_header(r#""typ":"at+jwt","#, "")),
        ("an empty header", forge.signed("", &text)),
    ];
    assert_refused(&shop, &forgeries).await;
}

#[tokio::test]
async fn a_token_with_wrong_claims_and_a_valid_signature_is_refused() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let forge = Forge::of(&shop, user.access_token());
    let mut forgeries = vec![
        ("expired long ago", forge.later_by(-7200)),
        ("issued tomorrow", forge.later_by(86_400)),
        ("not good yet", forge.with_claim("nbf", json!(forge.payload["exp"].as_u64().unwrap() - 60))),
        ("an expiry that is text", forge.with_claim("exp", json!("9999999999"))),
        ("an expiry below zero", forge.with_claim("exp", json!(-1))),
        ("an expiry with a fraction", forge.with_claim("exp", json!(9_999_999_999.5))),
        ("another issuer", forge.with_claim("iss", json!("https://example.com"))),
        ("another audience", forge.with_claim("aud", json!("elsewhere"))),
        ("two audiences", forge.with_claim("aud", json!(["comptoir", "elsewhere"]))),
        ("a refresh token's type", forge.with_claim("type", json!("refresh"))),
        ("a subject that is no text", forge.with_claim("sub", json!(1))),
        ("no role", forge.with_claim("roles", json!([]))),
        ("two roles", forge.with_claim("roles", json!(["user", "admin"]))),
        ("a role that is no list", forge.with_claim("roles", json!("admin"))),
        ("two subjects", forge.with_text("{", r#"{"sub":"admin","#)),
        ("two expiries", forge.with_text("{", r#"{"exp":99999999999,"#)),
        ("two lists of roles", forge.with_text("{", r#"{"roles":["admin"],"#)),
        ("text after the payload", forge.with_text("}", "}{}")),
        ("half a payload", forge.with_text("}", "")),
        ("a payload that is a list", forge.signed(&forge.header, format!("[{}]", forge.payload))),
        ("a payload that is null", forge.signed(&forge.header, "null")),
        ("a payload that is no UTF-8", forge.signed(&forge.header, b"{\"sub\":\"\xff\xfe\"}")),
        ("more than 4 KiB", forge.with_claim("padding", json!("x".repeat(4096)))),
    ];
    for name in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "roles", "type"] {
        forgeries.push((name, forge.with_claim(name, None)));
    }
    assert_refused(&shop, &forgeries).await;
}

#[tokio::test]
async fn a_token_with_a_wrong_signature_or_encoding_is_refused() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let forge = Forge::of(&shop, user.access_token());
    let good = user.access_token();
    let [header, payload, signature] = &forge.segments;
    let promoted = URL_SAFE_NO_PAD.encode(forge.payload.to_string().replace("[\"user\"]", "[\"admin\"]"));
    let signed =
        |header: &str, payload: &str| sign_encoded(&forge.key, Algorithm::HS256, &format!("{header}.{payload}"));
    let mut forgeries = vec![
        ("no signature", format!("{header}.{payload}")),
        ("an empty signature", format!("{header}.{payload}.")),
        ("a header alone", header.clone()),
        ("two dots", "..".to_owned()),
        ("half a signature", good[..good.len() - 20].to_owned()),
        ("a signature one character long", format!("{good}A")),
        ("a padded signature", format!("{good}=")),
        ("a fourth segment", format!("{good}.{signature}")),
        ("a fourth segment that is empty", format!("{good}.")),
        ("a padded payload", signed(header, &format!("{payload}="))),
        ("a padded header", signed(&format!("{header}="), payload)),
        ("an empty payload", signed(header, "")),
        ("a scheme before", format!("Bearer {good}")),
        ("a space within", format!("{header}. {payload}.{signature}")),
        ("a changed role", format!("{header}.{promoted}.{signature}")),
        ("a signature of zeros", format!("{header}.{payload}.{}", "A".repeat(43))),
        ("letters beyond ASCII", format!("{header}.é{payload}.{signature}")),
        ("JSON serialization", json!({"protected": header, "payload": payload, "signature": signature}).to_string()),
        ("a refresh token", user.refresh_token().to_owned()),
    ];
    for secret in PUBLIC_SECRETS {
        let text = forge.payload.to_string();
        let plain = r#"{"alg":"HS256","typ":"JWT"}"#;
        forgeries.push(("a public secret", signed_with(secret.as_bytes(), Algorithm::HS256, &forge.header, &text)));
        forgeries
            .push(("a public secret, plain header", signed_with(secret.as_bytes(), Algorithm::HS256, plain, &text)));
    }
    assert_refused(&shop, &forgeries).await;
}

#[tokio::test]
async fn a_token_of_an_unknown_session_is_refused_once_the_session_ended() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let forge = Forge::of(&shop, user.access_token());
    let copy = forge.with_claim("jti", json!("a copy"));
    shop.anon().with_token(&copy).get("/orders").await.succeeds(200);
    user.post("/auth/logout", json!({})).await.succeeds(200);
    assert_refused(&shop, &[("a token of a session that ended", copy)]).await;
}
