//! What gateways and proxies make of a path before they route by it and forward it. `None` if they refuse the request.

use crate::steps::{decoded, is_unreserved, merged, resolved, until, with_slashes};

/// Kong's router (`kong/tools/uri.lua`, `normalize` with merged slashes), which also makes the path for the upstream.
///
/// It decodes all bytes that are not reserved and encodes again what a request may not contain: only unreserved bytes stay
/// decoded.
#[must_use]
pub fn kong(path: &[u8]) -> Option<Vec<u8>> {
    // nginx has parsed the request before.
    nginx(path)?;
    Some(resolved(&merged(&decoded(path, is_unreserved))))
}

/// Envoy's `normalize_path`, which does not merge slashes. It refuses a request with a fragment.
#[must_use]
pub fn envoy(path: &[u8]) -> Option<Vec<u8>> {
    (!path.contains(&b'#')).then(|| resolved(&with_slashes(&decoded(path, is_unreserved))))
}

/// nginx's `r->uri` (`ngx_http_parse_complex_uri`), which `proxy_pass` with a variable forwards as it is.
///
/// It refuses a path above the root, a zero byte, and a `%` without two digits.
#[must_use]
pub fn nginx(path: &[u8]) -> Option<Vec<u8>> {
    if !path.starts_with(b"/") {
        return None;
    }
    let path = until(path, b'#');
    let starts = path.iter().enumerate().filter(|(_, byte)| **byte == b'%').map(|(at, _)| at);
    let mut last_end = 0;
    for start in starts.collect::<Vec<_>>() {
        if start < last_end {
            return None;
        }
        last_end = start.saturating_add(3);
        let digits = path.get(start.saturating_add(1)..last_end)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00" {
            return None;
        }
    }
    let path = merged(&decoded(path, |_| true));
    let mut depth = 0_i32;
    for segment in path.split(|byte| *byte == b'/') {
        depth = depth.saturating_add(match segment {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        });
        if depth < 0 {
            return None;
        }
    }
    Some(resolved(&path))
}
