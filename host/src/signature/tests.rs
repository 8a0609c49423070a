#![allow(clippy::unwrap_used)]

use super::*;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A key whose seed repeats this byte.
fn key(byte: u8) -> SigningKey {
    SigningKey(Ed25519KeyPair::from_seed_unchecked(&[byte; KEY_BYTES]).unwrap())
}

fn signed() -> Signature {
    key(7).sign("orders", SHA256, 3, 1000)
}

#[test]
fn a_signature_is_valid_for_its_file_and_service_until_it_expires() {
    let read = Signature::read(&format!("{}\n", signed().line())).unwrap();
    assert_eq!(read, signed());
    let signers = [key(1).public(), key(7).public()];
    assert_eq!(read.check(&signers, "orders", SHA256), Ok(()));
    assert_eq!(read.check(&signers, "auth", SHA256), Err(SignatureError::OtherService("orders".into())));
    assert_eq!(read.check(&signers, "orders", &"0".repeat(64)), Err(SignatureError::OtherFile(SHA256.into())));
    assert_eq!(read.check(&signers[..1], "orders", SHA256), Err(SignatureError::UnknownKey(key(7).public())));
    assert_eq!(read.check_time(999), Ok(()));
    let expired = read.check_time(1000).unwrap_err().to_string();
    assert_eq!(expired, "its signature expired at 1970-01-01T00:16:40Z");
    let never = key(7).sign("orders", SHA256, 3, u64::MAX);
    assert_eq!(never.check_time(u64::MAX).unwrap_err().to_string(), "its signature expired at 9999-12-31T23:59:59Z");
}

#[test]
fn a_signature_with_one_changed_bit_is_refused() {
    let (line, signers) = (signed().line().to_owned(), [key(7).public()]);
    for (at, bit) in (0..line.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut changed = line.clone().into_bytes();
        changed[at] ^= 1 << bit;
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let taken = Signature::read(&changed).and_then(|read| read.check(&signers, "orders", SHA256));
        assert!(taken.is_err(), "byte {at}, bit {bit}: {changed}");
    }
}

#[test]
fn signatures_of_other_keys_and_other_statements_are_refused() {
    let of = |text: &str, key: &SigningKey| format!("{text} {}", BASE64.encode(key.0.sign(text.as_bytes())));
    let (line, signers) = (signed().line().to_owned(), [key(7).public()]);
    let text = line.rsplit_once(' ').unwrap().0;
    let forged = Signature::read(&of(text, &key(8))).unwrap();
    assert_eq!(forged.check(&signers, "orders", SHA256), Err(SignatureError::Forged(key(7).public())));
    for (wrong, right) in [("comptoir-component", "receipt"), ("\"version\":3,", ""), ("}", ",\"more\":1}")] {
        let other = of(&text.replace(wrong, right), &key(7));
        assert_eq!(Signature::read(&other), Err(SignatureError::Unreadable), "{other}");
    }
    for other in ["", " ", text, &"x ".repeat(2000)] {
        assert_eq!(Signature::read(other), Err(SignatureError::Unreadable), "{other}");
    }
}

/// The first test vector of RFC 8032, section 7.1.
#[test]
fn a_seed_has_the_public_key_of_rfc_8032() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let key = SigningKey(Ed25519KeyPair::from_seed_unchecked(&bytes(seed)).unwrap());
    assert_eq!(key.public().0.to_vec(), bytes(public));
    assert_eq!(key.public().to_string().parse(), Ok(key.public()));
    for wrong in ["", "AAAA", "not base64", &BASE64.encode([0; 33])] {
        assert_eq!(wrong.parse::<PublicKey>(), Err(NoPublicKey), "{wrong}");
    }
}
