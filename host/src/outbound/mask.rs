//! Replaces secrets in what a remote host sends back by asterisks, also if a secret is split between two parts of a body.
//!
//! The length stays the same, so that a `Content-Length` stays right.

use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderValue};

/// The byte that replaces each byte of a secret.
const ASTERISK: u8 = b'*';

/// The texts to replace. It cannot be printed.
#[derive(Clone, Default)]
pub(super) struct Mask {
    /// The longest first, so that a text within another one does not hide it.
    texts: Vec<Bytes>,
}

/// What the mask finds at one position of a body.
enum Found {
    /// A text of this many bytes.
    Text(usize),
    /// The body so far ends with the beginning of a text.
    Unclear,
    Nothing,
}

impl Mask {
    pub(super) fn new(mut texts: Vec<Bytes>) -> Self {
        texts.retain(|text| !text.is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self { texts }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Replaces the texts in a whole value. None if it contains none.
    pub(super) fn replace(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut masked = bytes.to_vec();
        let (end, changed) = self.scan(&mut masked, true);
        debug_assert_eq!(end, bytes.len(), "nothing is unclear in a whole value");
        changed.then_some(masked)
    }

    /// Replaces the texts in the values of all fields.
    pub(super) fn replace_in(&self, fields: &mut HeaderMap) {
        for (_, value) in fields.iter_mut() {
            let masked = self.replace(value.as_bytes()).map(Bytes::from).map(HeaderValue::from_maybe_shared);
            if let Some(Ok(masked)) = masked {
                *value = masked;
            }
        }
    }

    fn find(&self, bytes: &[u8], is_whole: bool) -> Found {
        for text in &self.texts {
            if bytes.starts_with(text) {
                return Found::Text(text.len());
            }
            if !is_whole && text.starts_with(bytes) {
                return Found::Unclear;
            }
        }
        Found::Nothing
    }

    /// Replaces the texts, up to a place from which on only the next bytes will tell. Returns that place, and whether it replaced any.
    fn scan(&self, bytes: &mut [u8], is_whole: bool) -> (usize, bool) {
        let (mut at, mut changed) = (0, false);
        while at < bytes.len() {
            match self.find(&bytes[at..], is_whole) {
                Found::Text(length) => {
                    bytes[at..at + length].fill(ASTERISK);
                    (at, changed) = (at + length, true);
                }
                Found::Unclear => return (at, changed),
                Found::Nothing => at += 1,
            }
        }
        (at, changed)
    }
}

/// A body that is masked part by part.
pub(super) struct MaskedParts {
    mask: Mask,
    /// The end of the last part, which may be the beginning of a text. Shorter than the longest text.
    held: BytesMut,
}

impl MaskedParts {
    pub(super) fn new(mask: Mask) -> Self {
        Self { mask, held: BytesMut::new() }
    }

    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// How many bytes are held back.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The next part without its end, if that may be the beginning of a text.
    pub(super) fn part(&mut self, part: &[u8]) -> Bytes {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(part);
        let (end, _) = self.mask.scan(&mut bytes, false);
        self.held = bytes.split_off(end);
        bytes.freeze()
    }

    /// What was held back, after the last part. None if nothing was.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        let mut bytes = std::mem::take(&mut self.held);
        self.mask.scan(&mut bytes, true);
        (!bytes.is_empty()).then(|| bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(texts: &[&'static str]) -> Mask {
        Mask::new(texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect())
    }

    fn in_parts(mask: &Mask, parts: &[&[u8]]) -> Vec<u8> {
        let mut masked = MaskedParts::new(mask.clone());
        let mut all: Vec<u8> = parts.iter().flat_map(|part| masked.part(part)).collect();
        all.extend(masked.end().unwrap_or_default());
        all
    }

    #[test]
    fn a_secret_is_replaced_wherever_a_body_is_split() {
        let mask = mask(&["secret-key", "secret-key-2", "key"]);
        let text = b"a secret-key, secret-key-2, a secre, a key and a secret-ke";
        let expected = b"a **********, ************, a secre, a *** and a secret-ke";
        assert_eq!(in_parts(&mask, &[text]), expected);
        for at in 0..text.len() {
            let (first, second) = text.split_at(at);
            assert_eq!(in_parts(&mask, &[first, second]), expected, "split at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(in_parts(&mask, &bytes), expected);
        assert_eq!(mask.replace(text).unwrap(), expected);
        assert_eq!(mask.replace(b"nothing"), None);
    }

    #[test]
    fn only_what_may_be_a_secret_is_held_back() {
        let mut masked = MaskedParts::new(mask(&["secret-key"]));
        assert_eq!(masked.part(b"data: 1\n\n"), "data: 1\n\n");
        assert_eq!(masked.part(b"data: secret"), "data: ");
        assert_eq!(masked.part(b"x"), "secretx");
        assert_eq!(masked.part(b"secret-"), "");
        assert_eq!(masked.end().unwrap(), "secret-");
        assert_eq!(masked.end(), None);
    }

    proptest! {
        #[test]
        fn parts_give_what_the_whole_gives(
            texts in prop::collection::vec("[ab]{1,5}", 1..4),
            parts in prop::collection::vec("[abc]{0,6}", 0..8),
        ) {
            let mask = Mask::new(texts.into_iter().map(Bytes::from).collect());
            let whole = parts.concat();
            let expected = mask.replace(whole.as_bytes()).unwrap_or_else(|| whole.clone().into_bytes());
            let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            prop_assert_eq!(in_parts(&mask, &parts), expected);
        }
    }
}
