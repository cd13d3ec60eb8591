//! The little DER (ITU-T X.690) that the targets need, read without the verifier.

pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) whole: &'a [u8],
    pub(crate) content: &'a [u8],
}

/// Elements one after another, as far as they can be read.
pub(crate) fn elements(mut der: &[u8]) -> Vec<Element<'_>> {
    let mut found = Vec::new();
    while let Some((element, rest)) = first(der) {
        found.push(element);
        der = rest;
    }
    found
}

pub(crate) fn first(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (header, length) = match *der {
        [_, length @ 0..=0x7F, ..] => (2, usize::from(length)),
        [_, 0x81, length, ..] => (3, usize::from(length)),
        [_, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    let (whole, rest) = der.split_at_checked(header + length)?;
    Some((Element { tag: der[0], whole, content: &whole[header..] }, rest))
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend(content);
    out
}

/// A certificate or list with another signed part, under the signature that it had.
pub(crate) fn with_signed_part(signed: &[u8], part: &[u8]) -> Vec<u8> {
    let outer = first(signed).unwrap().0;
    let inside = elements(outer.content);
    tlv(0x30, &[part, inside[1].whole, inside[2].whole].concat())
}

pub(crate) fn signed_part(signed: &[u8]) -> &[u8] {
    first(first(signed).unwrap().0.content).unwrap().0.whole
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
