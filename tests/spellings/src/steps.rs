//! The steps of readings, each over the whole path.

/// `text` before the first `end`.
pub fn until(text: &[u8], end: u8) -> &[u8] {
    text.split(|byte| *byte == end).next().unwrap_or_default()
}

/// Decodes the percent-encoded bytes that `wanted` accepts.
pub fn decoded(path: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let digits = path.get(at.saturating_add(1)..at.saturating_add(3)).unwrap_or_default();
        let escaped = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| *byte == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|byte| wanted(*byte));
        out.push(escaped.unwrap_or(*byte));
        at = at.saturating_add(if escaped.is_some() { 3 } else { 1 });
    }
    out
}

/// Whether it is unreserved: a letter, a digit or a mark of RFC 3986 (2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Turns `\` into `/`.
pub fn with_slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

/// Removes from each segment what follows its first `;`.
pub fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').map(|segment| until(segment, b';')).collect();
    segments.join(&b'/')
}

/// Merges several slashes into one.
pub fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|one, other| *one == b'/' && *other == b'/');
    out
}

/// Resolves `.` and `..` segment by segment; an empty segment counts as one, too.
pub fn resolved(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}
