//! The few DER forms that AMD's certificates are made of (ITU-T X.690).

use time::OffsetDateTime;

use crate::SimError;

/// Tag, length and content; nothing written here reaches 64 KiB.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// The first element inside this one; nothing where there is none.
pub(crate) fn first_inside(der: &[u8]) -> &[u8] {
    let inside = |der: &[u8]| match der {
        [_, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, 0x81, length, ..] => (3, usize::from(*length)),
        [_, length, ..] => (2, usize::from(*length)),
        _ => (0, 0),
    };
    let content = der.get(inside(der).0..).unwrap_or_default();
    let (header, length) = inside(content);
    content.get(..header + length).unwrap_or_default()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(part: &[u8]) -> Vec<u8> {
    tlv(0x31, part)
}

/// `[number]` around a whole element, or around raw content where the ASN.1 says IMPLICIT SEQUENCE.
pub(crate) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xA0 | number, content)
}

/// A non-negative INTEGER in its shortest form.
pub(crate) fn integer(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|top| *top >= 0x80) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

pub(crate) fn oid(arcs: &[u64]) -> Vec<u8> {
    let (first, rest) = match arcs {
        [root, second, rest @ ..] => (root * 40 + second, rest),
        _ => (0, arcs),
    };
    let content: Vec<u8> = [first].iter().chain(rest).flat_map(|arc| base128(*arc)).collect();
    tlv(0x06, &content)
}

pub(crate) fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

pub(crate) fn boolean_true() -> Vec<u8> {
    tlv(0x01, &[0xFF])
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// A BIT STRING whose last `unused` bits do not count.
pub(crate) fn bits(unused: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[unused], content].concat())
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0C, text.as_bytes())
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, text.as_bytes())
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    tlv(0x16, text.as_bytes())
}

/// `UTCTime` until 2049 and `GeneralizedTime` after, as RFC 5280 4.1.2.5 wants.
pub(crate) fn time(unix: i64) -> Result<Vec<u8>, SimError> {
    let at = OffsetDateTime::from_unix_timestamp(unix).map_err(|_| SimError::Time(unix))?;
    let clock = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    match at.year() {
        year @ 1950..=2049 => Ok(tlv(0x17, format!("{:02}{clock}", year % 100).as_bytes())),
        year @ 0..=9999 => Ok(tlv(0x18, format!("{year:04}{clock}").as_bytes())),
        _ => Err(SimError::Time(unix)),
    }
}

fn base128(arc: u64) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut rest = arc;
    loop {
        let more = if out.is_empty() { 0 } else { 0x80 };
        out.push((rest & 0x7F) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_short_form_up_to_127() {
        assert_eq!(tlv(4, &[]), [4, 0]);
        assert_eq!(tlv(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[7; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn the_first_element_is_found_behind_every_form_of_length() {
        for length in [1, 200, 400] {
            let first = tlv(4, &vec![7; length]);
            assert_eq!(first_inside(&sequence(&[first.clone(), null()])), first);
        }
        assert_eq!(first_inside(&[0x30, 5]), [0_u8; 0]);
    }

    #[test]
    fn integers_stay_positive_and_short() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7F), [2, 1, 0x7F]);
        assert_eq!(integer(0xDB), [2, 2, 0, 0xDB]);
        assert_eq!(integer(0x2_0002), [2, 3, 2, 0, 2]);
    }

    #[test]
    fn object_identifiers_use_base_128() {
        assert_eq!(oid(&[2, 5, 29, 31]), [6, 3, 0x55, 0x1D, 0x1F]);
        assert_eq!(oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 1]), [6, 9, 0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1, 1]);
    }

    #[test]
    fn dates_change_form_in_2050() {
        assert_eq!(time(0).unwrap(), tlv(0x17, b"700101000000Z"));
        assert_eq!(time(2_524_608_000).unwrap(), tlv(0x18, b"20500101000000Z"));
        assert!(time(i64::MAX).is_err());
    }
}
