//! The path that the answering server reads.

use crate::steps::{decoded, merged, resolved, until, with_slashes, without_parameters};

/// A server's reading of the path that it receives.
pub type Reading = fn(&[u8]) -> Vec<u8>;

/// All readings by name.
pub const ALL: [(&str, Reading); 13] = [
    ("a WSGI application", wsgi),
    ("Express", express),
    ("Go", go),
    ("nginx", nginx),
    ("Apache", apache),
    ("IIS", iis),
    ("RFC 3986, decoded first", rfc_3986),
    ("RFC 3986, decoded last", rfc_3986_decoded_last),
    ("Tomcat", tomcat),
    ("Tomcat with ALLOW_BACKSLASH", tomcat_with_backslash),
    ("Undertow", undertow),
    ("Jetty", jetty),
    ("WebFlux", webflux),
];

fn wsgi(path: &[u8]) -> Vec<u8> {
    decoded(path, |_| true)
}

fn express(path: &[u8]) -> Vec<u8> {
    decoded(until(path, b'#'), |byte| byte != b'/')
}

fn go(path: &[u8]) -> Vec<u8> {
    resolved(&merged(&wsgi(path)))
}

fn nginx(path: &[u8]) -> Vec<u8> {
    go(until(path, b'#'))
}

fn apache(path: &[u8]) -> Vec<u8> {
    resolved(&merged(&decoded(until(path, b'#'), |byte| byte != b'/')))
}

fn iis(path: &[u8]) -> Vec<u8> {
    resolved(&merged(&with_slashes(&wsgi(until(path, b'#')))))
}

fn rfc_3986(path: &[u8]) -> Vec<u8> {
    resolved(&wsgi(until(path, b'#')))
}

fn rfc_3986_decoded_last(path: &[u8]) -> Vec<u8> {
    decoded(&resolved(&decoded(until(path, b'#'), crate::steps::is_unreserved)), |byte| byte != b'/')
}

fn tomcat(path: &[u8]) -> Vec<u8> {
    go(&without_parameters(path))
}

fn tomcat_with_backslash(path: &[u8]) -> Vec<u8> {
    resolved(&merged(&with_slashes(&wsgi(&without_parameters(path)))))
}

fn undertow(path: &[u8]) -> Vec<u8> {
    resolved(&wsgi(&without_parameters(path)))
}

fn jetty(path: &[u8]) -> Vec<u8> {
    resolved(&decoded(&without_parameters(until(path, b'#')), |byte| byte != b'/'))
}

fn webflux(path: &[u8]) -> Vec<u8> {
    express(&without_parameters(until(path, b'#')))
}
