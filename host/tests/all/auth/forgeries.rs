//! Forged tokens, each with the reason for which the token store must refuse it.
//!
//! Most are signed with the right key. So the store refuses them for the stated reason, and not for the signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comptoir::clock::Clock;
use comptoir::tokens::Tokens;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tempfile::TempDir;

use super::forge::{Forge, sign_encoded, signed_with, unsigned};

/// A token store whose signing key has leaked.
struct Store {
    tokens: Tokens,
    now: u64,
    _folder: TempDir,
}

impl Store {
    /// Opens a store, and gives its key and one good token to a forge.
    fn with_forge() -> (Store, Forge) {
        let folder = TempDir::new().unwrap();
        let tokens = Tokens::open(folder.path(), Clock::default()).unwrap();
        let key = std::fs::read(folder.path().join("signing.key")).unwrap();
        let forge = Forge::new(key, &tokens.issue("ada", "user", "s1").unwrap().token);
        // The clock may have reached the next second since the token was issued.
        let now = forge.payload["iat"].as_u64().unwrap();
        (Store { tokens, now, _folder: folder }, forge)
    }

    fn accepts(&self, token: &str) -> bool {
        self.tokens.verify(token).is_some()
    }

    /// The name of the newest key.
    fn kid(&self) -> String {
        self.tokens.keys().remove(0).id
    }

    /// Asserts that the store accepts a copy that the forge made by the rules, and none of the forgeries.
    fn assert_refuses(&self, forge: &Forge, forgeries: &[(&str, String)]) {
        assert!(self.accepts(&forge.good()), "the forge can make a good token");
        for (reason, token) in forgeries {
            assert_eq!(self.tokens.verify(token), None, "{reason}: {token}");
        }
    }
}

/// Another base64 text of the same bytes: sets a bit of the last character that belongs to no byte.
fn with_stray_bits(segment: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(segment.len() % 4, 0, "a segment without spare bits");
    let (start, last) = segment.split_at(segment.len() - 1);
    let index = ALPHABET.iter().position(|&character| character == last.as_bytes()[0]).unwrap();
    format!("{start}{}", char::from(ALPHABET[index + 1]))
}

#[test]
fn another_header_is_refused_despite_a_right_signature() {
    let (store, forge) = Store::with_forge();
    let (header, payload) = (&forge.header, forge.payload.to_string());
    let unsigned = |alg: &str| unsigned(&header.replace("HS256", alg), &forge.payload);
    let swapped = |name: &str, algorithm| signed_with(&forge.key, algorithm, &header.replace("HS256", name), &payload);
    let added = |member: &str| forge.with_member(member);
    let kid = &*store.kid();
    let attacker = "YXR0YWNrZXI";
    store.assert_refuses(
        &forge,
        &[
            ("no algorithm, no signature", unsigned("none")),
            ("no algorithm, in capitals", unsigned("None")),
            ("no algorithm, in mixed case", unsigned("nOnE")),
            ("no algorithm, yet signed", forge.with_header("HS256", "none")),
            ("an empty algorithm", unsigned("")),
            ("a longer HMAC", swapped("HS512", Algorithm::HS512)),
            ("a longer HMAC, its signature under our header", {
                signed_with(&forge.key, Algorithm::HS512, header, &payload)
            }),
            ("another HMAC", swapped("HS384", Algorithm::HS384)),
            ("the key taken for an RSA key", swapped("RS256", Algorithm::HS256)),
            ("the key taken for an elliptic curve", swapped("ES256", Algorithm::HS256)),
            ("the algorithm in lower case", forge.with_header("HS256", "hs256")),
            ("no algorithm named", forge.with_header(r#""alg":"HS256","#, "")),
            ("two algorithms", added(r#""alg":"none""#)),
            ("an unknown key", forge.with_header(kid, "0123456789abcdef")),
            ("no key named", forge.with_header(&format!(r#","kid":"{kid}""#), "")),
            ("a key that is a path", forge.with_header(kid, "../../../../dev/null")),
            ("a key that is SQL", forge.with_header(kid, "' UNION SELECT 'x")),
            ("the key's name in capitals", forge.with_header(kid, &format!("X{}", kid.to_uppercase()))),
            ("keys from a URL", added(r#""jku":"https://example.com/keys""#)),
            ("a certificate from a URL", added(r#""x5u":"https://example.com/key.pem""#)),
            ("a certificate in the token", added(r#""x5c":["MIIB"]"#)),
            ("a key in the token", {
                let member = format!(r#"{{"jwk":{{"kty":"oct","k":"{attacker}"}},"#);
                signed_with(b"attacker", Algorithm::HS256, &header.replacen('{', &member, 1), &payload)
            }),
            ("an extension that must be understood", added(r#""crit":["exp"]"#)),
            ("an unencoded payload", added(r#""b64":false,"crit":["b64"]"#)),
            ("a compressed payload", added(r#""zip":"DEF""#)),
            ("a token of another type", forge.with_header("at+jwt", "JWT")),
            ("an id token", forge.with_header("at+jwt", "id+jwt")),
            ("the type in capitals", forge.with_header("at+jwt", "AT+JWT")),
            ("the type in full", forge.with_header("at+jwt", "application/at+jwt")),
            ("no type", forge.with_header(r#""typ":"at+jwt","#, "")),
            ("the same header with a space", forge.with_header(",", ", ")),
            ("the same header with an escape", forge.with_header("at+jwt", r"\u0061t+jwt")),
            ("the same header in another order", {
                forge.signed(&format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{kid}"}}"#), &payload)
            }),
            ("a header that is a list", forge.signed(&format!("[{header}]"), &payload)),
            ("an empty header", forge.signed("", &payload)),
        ],
    );
}

#[test]
fn another_encoding_of_a_good_token_is_refused() {
    let (store, forge) = Store::with_forge();
    let good = forge.good();
    let [header, payload, signature] = &forge.segments;
    let signed =
        |header: &str, payload: &str| sign_encoded(&forge.key, Algorithm::HS256, &format!("{header}.{payload}"));
    // Spaces lengthen the payload until its encoding has spare bits.
    let spare = (0..3)
        .map(|more| URL_SAFE_NO_PAD.encode(forge.payload.to_string() + &" ".repeat(more)))
        .find(|payload| payload.len() % 4 != 0)
        .unwrap();
    assert!(store.accepts(&signed(header, &spare)));
    // These characters encode to `-` or `_`, in which the two base64 alphabets differ.
    let mut odd = forge.payload.clone();
    odd["sub"] = json!("???~~~???");
    let odd = URL_SAFE_NO_PAD.encode(odd.to_string());
    assert!(odd.contains(['-', '_']) && store.accepts(&signed(header, &odd)));

    store.assert_refuses(
        &forge,
        &[
            ("nothing", String::new()),
            ("a dot", ".".to_owned()),
            ("two dots", "..".to_owned()),
            ("a header alone", header.clone()),
            ("a header and a dot", format!("{header}.")),
            ("a header and two dots", format!("{header}..")),
            ("no signature", format!("{header}.{payload}")),
            ("an empty signature", format!("{header}.{payload}.")),
            ("an empty payload", signed(header, "")),
            ("half a signature", good[..good.len() - 20].to_owned()),
            ("a signature one character short", good[..good.len() - 1].to_owned()),
            ("a signature one character long", format!("{good}A")),
            ("a padded signature", format!("{good}=")),
            ("a signature with stray bits", format!("{header}.{payload}.{}", with_stray_bits(signature))),
            ("a fourth segment", format!("{good}.{signature}")),
            ("a fourth segment that is empty", format!("{good}.")),
            ("five segments, as of an encrypted token", format!("{good}.{payload}.{signature}")),
            ("a padded payload", signed(header, &format!("{spare}=="))),
            ("a payload with stray bits", signed(header, &with_stray_bits(&spare))),
            ("a payload in the other alphabet", signed(header, &odd.replace('-', "+").replace('_', "/"))),
            ("a payload with a line break", signed(header, &format!("{}\n{}", &payload[..8], &payload[8..]))),
            ("a padded header", signed(&format!("{header}="), payload)),
            ("a line break at the end", format!("{good}\n")),
            ("a space before", format!(" {good}")),
            ("a scheme before", format!("Bearer {good}")),
            ("a NUL at the end", format!("{good}\0")),
            ("letters beyond ASCII", format!("{header}.é{payload}.{signature}")),
            ("a signature beyond ASCII", format!("{header}.{payload}.{}", "é".repeat(21))),
            (
                "JSON serialization",
                json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
            ),
            ("more than 4 KiB", forge.with_claim("padding", json!("x".repeat(4096)))),
        ],
    );
}

#[test]
fn another_signature_is_refused() {
    let (store, forge) = Store::with_forge();
    let (header, text) = (&forge.header, forge.payload.to_string());
    let [encoded_header, payload, signature] = &forge.segments;
    let promoted = URL_SAFE_NO_PAD.encode(text.replace("user", "admin"));
    let of_another = forge.with_claim("sub", json!("eve")).rsplit_once('.').unwrap().1.to_owned();
    let mut forgeries = vec![
        ("a changed role", format!("{encoded_header}.{promoted}.{signature}")),
        ("the signature of another token", format!("{encoded_header}.{payload}.{of_another}")),
        ("a signature of zeros", format!("{encoded_header}.{payload}.{}", "A".repeat(43))),
        ("the payload signed alone", {
            let alone = sign_encoded(&forge.key, Algorithm::HS256, payload);
            format!("{encoded_header}.{payload}.{}", alone.rsplit_once('.').unwrap().1)
        }),
        ("the key of another installation", signed_with(&Store::with_forge().1.key, Algorithm::HS256, header, &text)),
        ("a token of another installation", Store::with_forge().1.good()),
        ("the key's name as the key", signed_with(store.kid().as_bytes(), Algorithm::HS256, header, &text)),
        ("a key of zeros", signed_with(&[0; 32], Algorithm::HS256, header, &text)),
    ];
    // Secrets from tutorials and from earlier versions of the shop.
    for secret in [
        "",
        "secret",
        "secret-key",
        "your-secret-key",
        "your-256-bit-secret",
        "jwt-secret-key",
        "your-secret-key-change-in-production",
        "super-secret-key-change-in-production",
        "a-string-secret-at-least-256-bits-long",
    ] {
        forgeries.push(("a public secret", signed_with(secret.as_bytes(), Algorithm::HS256, header, &text)));
        let plain = r#"{"alg":"HS256","typ":"JWT"}"#;
        forgeries
            .push(("a public secret, plain header", signed_with(secret.as_bytes(), Algorithm::HS256, plain, &text)));
    }
    store.assert_refuses(&forge, &forgeries);
}

#[tokio::test]
async fn each_of_two_keys_verifies_under_its_own_header_only() {
    let (store, forge) = Store::with_forge();
    let (old_kid, good) = (store.kid(), forge.good());
    store.tokens.rotate_keys().await.unwrap();
    let new_kid = store.kid();
    assert_ne!(old_kid, new_kid);
    let (old, new, text) = (&forge.header, forge.header.replace(&old_kid, &new_kid), forge.payload.to_string());
    let issued = store.tokens.issue("ada", "user", "s1").unwrap().token;
    let (message, signature) = issued.rsplit_once('.').unwrap();
    let (of_new, of_old) = (message.split_once('.').unwrap().1, good.split('.').collect::<Vec<_>>());
    assert!(store.accepts(&good) && store.accepts(&issued));
    let both = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{new_kid}","kid":"{old_kid}"}}"#);
    let none = r#"{"alg":"none","typ":"at+jwt","kid":"ID"}"#.replace("ID", &old_kid);
    for (reason, token) in [
        ("the new header, the old key", forge.signed(&new, &text)),
        ("the old header, the new signature", format!("{}.{of_new}.{signature}", of_old[0])),
        ("the new header, the old signature", format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&new), of_old[1], of_old[2])),
        ("the new message, the old signature", format!("{message}.{}", of_old[2])),
        ("the old message, the new signature", format!("{}.{}.{signature}", of_old[0], of_old[1])),
        ("two keys named", forge.signed(&both, &text)),
        ("no algorithm, yet signed", forge.signed(&none, &text)),
        ("no algorithm, no signature", format!("{}.{}.", URL_SAFE_NO_PAD.encode(&none), of_old[1])),
        ("an unknown key", forge.signed(&old.replace(&old_kid, "0123456789abcdef"), &text)),
        ("a key's name as the key", signed_with(new_kid.as_bytes(), Algorithm::HS256, &new, &text)),
    ] {
        assert_eq!(store.tokens.verify(&token), None, "{reason}: {token}");
    }
}

#[test]
fn missing_wrong_and_expired_claims_are_refused() {
    let (store, forge) = Store::with_forge();
    let now = store.now;
    let mut forgeries = vec![
        ("expired this second", forge.with_claim("exp", json!(now))),
        ("expired long ago", forge.with_claim("exp", json!(1))),
        ("an expiry before 1970", forge.with_claim("exp", json!(-1))),
        ("an expiry in text", forge.with_claim("exp", json!((now + 3600).to_string()))),
        ("an expiry with a fraction", forge.with_claim("exp", json!(now as f64 + 3600.5))),
        ("an expiry beyond every number", forge.with_text(&(now + 3600).to_string(), "99999999999999999999999")),
        ("an expiry of null", forge.with_claim("exp", json!(null))),
        ("issued in an hour", forge.with_claim("iat", json!(now + 3600))),
        ("issued at no number", forge.with_claim("iat", json!("now"))),
        ("not yet in force", forge.with_claim("nbf", json!(now + 30))),
        ("in force from no number", forge.with_claim("nbf", json!("now"))),
        ("another issuer", forge.with_claim("iss", json!("comptoir.example.com"))),
        ("an issuer in capitals", forge.with_claim("iss", json!("Comptoir"))),
        ("another audience", forge.with_claim("aud", json!("elsewhere"))),
        ("several audiences", forge.with_claim("aud", json!(["comptoir", "elsewhere"]))),
        ("another client", forge.with_claim("client_id", json!("elsewhere"))),
        ("a refresh token", forge.with_claim("type", json!("refresh"))),
        ("a subject that is a number", forge.with_claim("sub", json!(1))),
        ("a session that is null", forge.with_claim("sid", json!(null))),
        ("an empty token id", forge.with_claim("jti", json!(""))),
        ("no role", forge.with_claim("roles", json!([]))),
        ("two roles", forge.with_claim("roles", json!(["user", "admin"]))),
        ("a role that is no list", forge.with_claim("roles", json!("admin"))),
        ("two subjects", forge.with_text("{", r#"{"sub":"admin","#)),
        ("two subjects, one escaped", forge.with_text("{", r#"{"s\u0075b":"admin","#)),
        ("two expiries", forge.with_text("{", r#"{"exp":99999999999,"#)),
        ("two lists of roles", forge.with_text("{", r#"{"roles":["admin"],"#)),
        ("two sessions", forge.with_text("{", r#"{"sid":"s2","#)),
        ("two types", forge.with_text("{", r#"{"type":"access","#)),
        ("text after the payload", forge.with_text("}", "}{}")),
        ("half a payload", forge.with_text("}", "")),
        ("a byte order mark", forge.with_text("{", "\u{feff}{")),
        ("a comment", forge.with_text("{", "{/**/")),
        ("a list", forge.signed(&forge.header, format!("[{}]", forge.payload))),
        ("a list of values in order", {
            let values =
                json!(["comptoir", "comptoir", "ada", "comptoir", now, now + 3600, null, "j", "s", ["user"], "access"]);
            forge.signed(&forge.header, values.to_string())
        }),
        ("text", forge.signed(&forge.header, r#""admin""#)),
        ("null", forge.signed(&forge.header, "null")),
        ("bytes that are not UTF-8", forge.signed(&forge.header, b"{\"sub\":\"\xff\xfe\"}")),
        ("depth", forge.signed(&forge.header, "[".repeat(2000))),
    ];
    for name in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "roles", "type"] {
        forgeries.push((name, forge.with_claim(name, None)));
    }
    store.assert_refuses(&forge, &forgeries);
}

#[test]
fn times_at_the_edge_are_accepted() {
    let (store, forge) = Store::with_forge();
    for (reason, token) in [
        ("in force from now on", forge.with_claim("nbf", json!(store.now))),
        ("issued by a clock a little ahead", forge.with_claim("iat", json!(store.now + 30))),
        ("a claim of a later version", forge.with_claim("later", json!({"any": ["thing"]}))),
    ] {
        assert!(store.accepts(&token), "{reason}");
    }
}
