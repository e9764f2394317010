//! One spelling for every path, so that none gets a cheaper price.

use std::borrow::Cow;

/// `raw` without query and fragment, percent-encoding decoded once, `\` read as `/`, empty and dot segments
/// resolved, no slash at the end. Starts with `/` always.
///
/// Borrows when there is nothing to change, as in almost every request. Slashes are merged before `..` is resolved,
/// as file systems do; a `..` above the root stays at the root.
#[must_use]
pub fn normalised(raw: &[u8]) -> Cow<'_, [u8]> {
    match if_normal(raw) {
        Some(path) => Cow::Borrowed(path),
        None => Cow::Owned(resolved(&decoded(without_query(raw)), Slashes::MergedFirst)),
    }
}

/// What RFC 3986 (5.2.4) makes of a path that is not normal as it stands, and gateways with it: there a `..` after two
/// slashes takes away the nothing between them, not the segment before. Slashes are merged afterwards.
#[must_use]
pub fn as_rfc_3986_reads(raw: &[u8]) -> Vec<u8> {
    resolved(&decoded(without_query(raw)), Slashes::MergedLast)
}

fn without_query(raw: &[u8]) -> &[u8] {
    let end = raw.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(raw.len());
    raw.get(..end).unwrap_or(raw)
}

/// `raw` without query and fragment, if [`resolved`] would leave it as it is.
fn if_normal(raw: &[u8]) -> Option<&[u8]> {
    let mut after_slash = false;
    let mut ends = raw.len();
    for (index, byte) in raw.iter().enumerate() {
        match byte {
            b'?' | b'#' => {
                ends = index;
                break;
            }
            b'%' | b'\\' => return None,
            // "//", "/./", "/../": a segment that starts with a dot is rare enough for the slow way.
            b'/' | b'.' if after_slash => return None,
            _ => after_slash = *byte == b'/',
        }
    }
    let path = raw.get(..ends)?;
    (path.first() == Some(&b'/') && (!after_slash || path.len() == 1)).then_some(path)
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        match escaped {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => out.push(byte),
        }
    }
    out
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// When several slashes become one: before `..` takes a segment away, or after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    MergedFirst,
    MergedLast,
}

fn resolved(path: &[u8], slashes: Slashes) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let path = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"\\")).unwrap_or(path);
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"." => {}
            b"" if slashes == Slashes::MergedFirst => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut out: Vec<u8> = Vec::with_capacity(path.len().saturating_add(1));
    for segment in segments.into_iter().filter(|segment| !segment.is_empty()) {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn text(path: &str) -> String {
        String::from_utf8_lossy(&normalised(path.as_bytes())).into_owned()
    }

    #[test]
    fn every_spelling_of_a_path_is_one() {
        for spelling in [
            "/compare",
            "/compare/",
            "//compare",
            "/./compare",
            "/x/../compare",
            "/compare?x=1",
            "/compare#top",
            "/%63ompare",
            "/comp%61re/",
            "/%2e/compare",
            "/a/%2E%2e/compare",
            "/..//compare",
            "/%2fcompare",
            "\\compare",
            "/compare/.",
            "/compare/x/..",
            "compare",
            "/compare?a=/../health",
            "/compare%2f",
        ] {
            assert_eq!(text(spelling), "/compare", "{spelling}");
        }
    }

    #[test]
    fn what_differs_stays_apart() {
        for (raw, normal) in [
            ("", "/"),
            ("/", "/"),
            ("?x", "/"),
            ("/..", "/"),
            ("//", "/"),
            ("/Compare", "/Compare"),
            ("/compare/x", "/compare/x"),
            ("/%2563ompare", "/%63ompare"),
            ("/%zz", "/%zz"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("/a.b/c..d", "/a.b/c..d"),
        ] {
            assert_eq!(text(raw), normal, "{raw}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_has_two_readings() {
        for (raw, file_system, rfc) in [
            ("/compare//../health", "/health", "/compare/health"),
            ("/health//../compare", "/compare", "/health/compare"),
            ("//../x", "/x", "/x"),
            ("/a/%2f/..%2f../b", "/b", "/a/b"),
            ("/a/b/../c//", "/a/c", "/a/c"),
        ] {
            assert_eq!(text(raw), file_system, "{raw}");
            assert_eq!(String::from_utf8_lossy(&as_rfc_3986_reads(raw.as_bytes())), rfc, "{raw}");
        }
    }

    #[test]
    fn an_ordinary_path_is_borrowed() {
        assert!(matches!(normalised(b"/v1/identify?id=7"), Cow::Borrowed(b"/v1/identify")));
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_long_way_agree(path in "[/.a%2eF\\\\]{0,24}") {
            let long = resolved(&decoded(path.as_bytes()), Slashes::MergedFirst);
            prop_assert_eq!(normalised(path.as_bytes()).into_owned(), long);
        }

        #[test]
        fn a_resolved_path_has_nothing_left_to_resolve(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            for slashes in [Slashes::MergedFirst, Slashes::MergedLast] {
                let once = resolved(&path, slashes);
                prop_assert_eq!(resolved(&once, slashes), once.clone());
                prop_assert!(once.starts_with(b"/"));
            }
        }
    }
}
