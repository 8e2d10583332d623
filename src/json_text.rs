//! Text inside a JSON string: how long it is there, as serde_json writes it, and the writing of it. Limits
//! on documents are limits on that length, not on the text's.

/// Bytes that a text takes inside a JSON string, the quotes left out.
pub fn escaped_bytes(text: &str) -> usize {
    text.bytes().map(byte_width).sum()
}

/// Writes the longest beginning of a text that takes at most `max_bytes` inside a JSON string, with its
/// quotes around it.
pub fn write(out: &mut Vec<u8>, text: &str, max_bytes: usize) {
    if text.len() > max_bytes || !is_plain(text) {
        // Text into a growing buffer: nothing in that can fail.
        let written = serde_json::to_writer(out, cut(text, max_bytes));
        debug_assert!(written.is_ok());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Whether a text stands in a JSON string as it is. Nearly all that passes through here does, and
/// looking at every byte without a way out is what compilers make vector instructions of.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte| byte >= 0x20 && byte != b'"' && byte != b'\\';
    text.bytes()
        .fold(true, |plain, byte| plain & is_plain(byte))
}

/// The longest beginning of a text that takes at most `max_bytes` inside a JSON string.
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() * WIDEST <= max_bytes || (text.len() <= max_bytes && is_plain(text)) {
        return text;
    }
    let mut width = 0;
    for (place, character) in text.char_indices() {
        width += match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() => byte_width(byte),
            _ => character.len_utf8(),
        };
        if width > max_bytes {
            return &text[..place];
        }
    }
    text
}

/// Most bytes that one byte of text takes: `\u00XX`.
const WIDEST: usize = 6;

fn byte_width(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => WIDEST,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_as_serde_json_writes() {
        for text in ["", "a\"b\\c", "\u{0}\u{1f}\n\t\r\u{8}\u{c}/", "ü€😀\u{7f}"] {
            let written = serde_json::to_string(text).unwrap();
            assert_eq!(escaped_bytes(text) + 2, written.len());
        }
    }

    proptest! {
        #[test]
        fn writes_as_serde_json_does(text in "(.|[\u{0}-\u{1f}\"\\\\ü€😀\u{7f}]){0,60}", max in 0usize..80) {
            let mut written = b"before".to_vec();
            write(&mut written, &text, max);
            let expected = serde_json::to_string(cut(&text, max)).unwrap();
            prop_assert_eq!(written, format!("before{expected}").into_bytes());
        }

        #[test]
        fn cuts_at_the_last_character_that_fits(text in "(.|[\u{0}-\u{1f}\"\\\\ü€😀]){0,60}", max in 0usize..80) {
            let beginning = cut(&text, max);
            prop_assert!(text.starts_with(beginning) && escaped_bytes(beginning) <= max);
            let next = text[beginning.len()..].chars().next();
            let longer = next.map(|next| text[..beginning.len() + next.len_utf8()].to_owned());
            prop_assert!(longer.is_none_or(|longer| escaped_bytes(&longer) > max));
        }
    }
}
