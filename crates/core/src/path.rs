//! How servers read a path. A [`Dialect`] describes what one of them decodes, cuts and resolves.

/// How one kind of server turns the path of a request into the path that it serves or passes on.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Which percent-encoded bytes are decoded before the path is split into segments.
    decodes: Decodes,
    /// What happens to `.`, `..` and empty segments.
    dots: Dots,
    /// Whether `\` separates segments as `/` does.
    backslash: bool,
    /// Whether a segment's parameters, from `;` on, are cut off before anything is decoded.
    parameters: bool,
}

/// Which percent-encoded bytes are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decodes {
    /// Letters, digits and `-._~`, which mean the same if they are encoded (RFC 3986, 2.3).
    Unreserved,
    /// All but `%2f`.
    AllButSlash,
    /// All bytes.
    All,
}

/// What happens to dot segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dots {
    /// They are ordinary segments.
    Kept,
    /// They are resolved after several slashes have become one, as file systems do.
    AfterMerging,
    /// They are resolved as in RFC 3986 (5.2.4): `..` after two slashes removes the empty segment between them.
    BeforeMerging,
}

/// Decodes everything and changes nothing else.
pub const PLAIN: Dialect =
    Dialect { decodes: Decodes::All, dots: Dots::Kept, backslash: false, parameters: false };

/// File systems and IIS. The price list's paths are written as this dialect reads them.
pub const FILE_SYSTEM: Dialect = Dialect { dots: Dots::AfterMerging, backslash: true, ..PLAIN };

/// Kong's router, and the path that Kong sends to the upstream. It treats `#` and `;` as ordinary characters.
pub const KONG: Dialect = Dialect { decodes: Decodes::Unreserved, dots: Dots::AfterMerging, ..PLAIN };

/// Envoy with `normalize_path`, which Istio's sidecars set.
pub const ENVOY: Dialect =
    Dialect { decodes: Decodes::Unreserved, dots: Dots::BeforeMerging, backslash: true, ..PLAIN };

/// nginx, where it passes on the path that it has decoded.
pub const NGINX: Dialect = Dialect { dots: Dots::AfterMerging, ..PLAIN };

/// The ways in which the answering server may read `path`: every combination of what makes a difference in it. Such servers
/// are Tomcat (cuts parameters, decodes everything, merges slashes and then resolves dots), Jetty (resolves dots before),
/// Spring's WebFlux (keeps dots), Express (only decodes, all bytes except slashes), a WSGI application ([`PLAIN`]), Go
/// ([`NGINX`]) and IIS ([`FILE_SYSTEM`]).
pub fn of_servers(path: &[u8]) -> Vec<Dialect> {
    let mut all = vec![PLAIN];
    let mut vary = |changes: &[fn(Dialect) -> Dialect]| {
        let before = all.clone();
        all.extend(changes.iter().flat_map(|change| before.iter().copied().map(change)));
    };
    if encodes(path, b'/') {
        vary(&[|dialect| Dialect { decodes: Decodes::AllButSlash, ..dialect }]);
    }
    if path.contains(&b'.') || encodes(path, b'.') {
        vary(&[
            |dialect| Dialect { dots: Dots::AfterMerging, ..dialect },
            |dialect| Dialect { dots: Dots::BeforeMerging, ..dialect },
        ]);
    }
    if path.contains(&b'\\') || encodes(path, b'\\') {
        vary(&[|dialect| Dialect { backslash: true, ..dialect }]);
    }
    if path.contains(&b';') {
        vary(&[|dialect| Dialect { parameters: true, ..dialect }]);
    }
    all
}

/// Whether `path` contains `byte` percent-encoded.
fn encodes(path: &[u8], byte: u8) -> bool {
    path.windows(3).any(|window| decoded(window).is_some_and(|(other, _)| other == byte))
}

impl Dialect {
    /// How this server reads `path`, which has no query. Every byte is read once, and written at most once.
    #[must_use]
    pub fn read(&self, path: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(path.len().saturating_add(1));
        let mut rest = path;
        let mut in_parameters = false;
        // In `out` every segment follows its slash.
        out.push(b'/');
        if let Some((_, tail)) = rest.split_first().filter(|(first, _)| self.separates(**first)) {
            rest = tail;
        }
        while let Some((byte, is_encoded, tail)) = self.next(rest) {
            rest = tail;
            match byte {
                b';' if self.parameters && !is_encoded => in_parameters = true,
                // Parameters are cut before anything else happens, so only a slash ends them.
                _ if self.separates(byte) && !(in_parameters && (is_encoded || byte == b'\\')) => {
                    in_parameters = false;
                    self.end_segment(&mut out);
                    out.push(b'/');
                }
                _ if in_parameters => {}
                _ => out.push(byte),
            }
        }
        self.end_segment(&mut out);
        if out.is_empty() {
            out.push(b'/');
        }
        out
    }

    /// The next byte of `path`, whether it was percent-encoded, and what follows it.
    fn next<'a>(&self, path: &'a [u8]) -> Option<(u8, bool, &'a [u8])> {
        let is_wanted = |byte: u8| match self.decodes {
            Decodes::Unreserved => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'),
            Decodes::AllButSlash => byte != b'/',
            Decodes::All => true,
        };
        match decoded(path) {
            Some((byte, rest)) if is_wanted(byte) => Some((byte, true, rest)),
            _ => path.split_first().map(|(byte, rest)| (*byte, false, rest)),
        }
    }

    const fn separates(&self, byte: u8) -> bool {
        byte == b'/' || byte == b'\\' && self.backslash
    }

    /// Resolves the last segment of `out`.
    fn end_segment(&self, out: &mut Vec<u8>) {
        let start = out.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
        let is_merged = self.dots == Dots::AfterMerging;
        match out.get(start..).unwrap_or_default() {
            _ if self.dots == Dots::Kept => {}
            b"/" if is_merged => out.truncate(start),
            b"/." => out.truncate(start),
            b"/.." => {
                out.truncate(start);
                out.truncate(out.iter().rposition(|byte| *byte == b'/').unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// `path` up to the first of these bytes.
pub fn until<'a>(path: &'a [u8], ends: &[u8]) -> &'a [u8] {
    let end = path.iter().position(|byte| ends.contains(byte)).unwrap_or(path.len());
    path.get(..end).unwrap_or(path)
}

/// The byte whose percent-encoding `path` starts with, and what follows it.
pub fn decoded(path: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = path else { return None };
    Some((hex(*high)? << 4 | hex(*low)?, rest))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}
