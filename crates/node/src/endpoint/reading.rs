//! Every path that some server may find in one request target.
//!
//! Gateways, proxies and servers read `/health/..;/compare` or `/health%2f..%2fcompare` in different ways. It is not known here
//! which of them stand behind this gateway, so all their readings are priced.

use std::borrow::Cow;

use tollgate_core::path::{ENVOY, KONG, NGINX, PLAIN, decoded, until};

/// The longest path of which all readings are priced, in bytes.
const LONGEST: usize = 2_048;

/// The most bytes of paths that are read for one target, which bounds the work that a hostile one causes.
pub const MOST_WORK: usize = 32 * 1_024;

/// The path of `target`, if every server reads it alike, as for almost every request. Borrows if nothing is decoded.
pub fn only(target: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (mut rest, mut is_encoded) = (target, false);
    if target.first() != Some(&b'/') {
        return None;
    }
    while let Some((byte, tail)) = rest.split_first() {
        match byte {
            b'?' => break,
            0 | b'#' | b';' | b'\\' => return None,
            b'/' if is_dots(tail) => return None,
            b'%' if !is_harmless(rest) => return None,
            b'%' => is_encoded = true,
            _ => {}
        }
        rest = tail;
    }
    let path = target.get(..target.len().saturating_sub(rest.len()))?;
    Some(if is_encoded { PLAIN.read(path).into() } else { path.into() })
}

/// Whether the segment at the start of `rest` is `.` or `..`.
fn is_dots(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'.'] | [b'.', b'/' | b'?', ..] | [b'.', b'.', b'/' | b'?', ..])
}

/// Whether the byte in percent-encoding at the start of `rest` means nothing to any server.
fn is_harmless(rest: &[u8]) -> bool {
    let special = |byte| matches!(byte, 0 | b'#' | b'%' | b'.' | b'/' | b';' | b'?' | b'\\');
    decoded(rest).is_some_and(|(byte, _)| !special(byte))
}

/// The paths that the server behind the gateway may receive for `target`, each once; `None` if it is too long to find out.
pub fn received(target: &[u8]) -> Option<Vec<Vec<u8>>> {
    let path = until(without_authority(target), b"?");
    if path.len() > LONGEST {
        return None;
    }
    // For Kong `#` is a character of the path, for others its end.
    let mut sent = Paths::default();
    for path in [path, until(path, b"#")] {
        sent.add(path);
        let path = KONG.read(path);
        sent.add(until(&path, b"#"));
        sent.add(&path);
    }
    let mut received = Paths::default();
    for path in &sent.0 {
        received.add(path);
        for proxy in [ENVOY, NGINX] {
            let path = proxy.read(path);
            // A byte that this proxy has decoded may end the path for the next server.
            for ends in [&b"?#\0"[..], b"#", b""] {
                received.add(until(&path, ends));
            }
        }
    }
    Some(received.0)
}

/// A list of paths, each once.
#[derive(Default)]
struct Paths(Vec<Vec<u8>>);

impl Paths {
    fn add(&mut self, path: &[u8]) {
        if !self.0.iter().any(|other| other == path) {
            self.0.push(path.to_vec());
        }
    }
}

/// The path and query of `target`, even if it is a whole URL (RFC 9112, 3.2.2).
fn without_authority(target: &[u8]) -> &[u8] {
    let Some(colon) = target.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte))
    else {
        return target;
    };
    match target.get(colon..).and_then(|rest| rest.strip_prefix(b"://")) {
        Some(rest) if colon > 0 => rest.get(until(rest, b"/?#").len()..).unwrap_or_default(),
        _ => target,
    }
}
