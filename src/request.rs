//! A borrowed view of one request, and the gateway's answers to what is not in it.

/// What the gateway can be asked about the request at hand. Each answer costs a call into it, so ask once.
pub trait Gateway {
    /// A property of the request, such as `source.address`; the path's segments are separated by zero bytes.
    fn property(&self, path: &str) -> Option<Vec<u8>>;
    /// A request header by its lower-case name, when [`Headers`] may not have it.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
}

/// All request headers, as the gateway hands them over in one call, pseudo-headers included:
/// the number of pairs, two lengths a pair, then every name and value, each followed by a zero byte.
///
/// Reading never leaves the buffer, whatever it claims.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
}

/// From this many pairs on, a host may have left some out (Kong hands over 100, the auth plugins' last).
const MAY_BE_CUT: usize = 100;

const WORD: usize = 4;

impl<'a> Headers<'a> {
    /// The headers in `bytes`, as far as they are well formed.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let Some((count, rest)) = word(bytes) else { return Self { pairs: Vec::new() } };
        // Two lengths a pair have to fit, so a lying count cannot make anything long.
        let count = count.min(rest.len() / (2 * WORD));
        let (mut lengths, mut texts) =
            rest.split_at_checked(count.saturating_mul(2 * WORD)).unwrap_or_default();
        let mut pairs = Vec::with_capacity(count);
        while let Some((name, after)) = word(lengths) {
            let Some((value, after)) = word(after) else { break };
            lengths = after;
            let Some((name, after)) = text(texts, name) else { break };
            let Some((value, after)) = text(after, value) else { break };
            texts = after;
            pairs.push((name, value));
        }
        Self { pairs }
    }

    /// Names and values in the order they came; the name's case is the client's in Kong, lower in Envoy.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.pairs.iter().copied()
    }

    /// Whether there may be headers that are not here.
    #[must_use]
    pub const fn may_be_cut(&self) -> bool {
        self.pairs.len() >= MAY_BE_CUT
    }
}

/// The number that `bytes` start with, and what is behind it.
fn word(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<WORD>()?;
    Some((usize::try_from(u32::from_le_bytes(*word)).ok()?, rest))
}

/// The text of `length` bytes that `bytes` start with, and what is behind its zero byte.
fn text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    Some((text, rest.get(1..)?))
}

/// One request.
#[derive(Clone)]
pub struct Request<'a, G> {
    /// The method; empty where the gateway does not say.
    pub method: &'a [u8],
    /// The path as the client sent it, query and all.
    pub path: &'a [u8],
    /// All headers.
    pub headers: Headers<'a>,
    /// Whom to ask for the rest.
    pub gateway: &'a G,
}

impl<'a, G: Gateway> Request<'a, G> {
    /// The request that `headers` describe.
    #[must_use]
    pub fn new(headers: Headers<'a>, gateway: &'a G) -> Self {
        let (mut method, mut path): (&[u8], &[u8]) = (b"", b"");
        // Pseudo-headers come first; the second of two would be a forgery.
        for (name, value) in headers.iter().take_while(|(name, _)| name.starts_with(b":")) {
            match name {
                b":method" if method.is_empty() => method = value,
                b":path" if path.is_empty() => path = value,
                _ => {}
            }
        }
        Self { method, path, headers, gateway }
    }

    /// The first value of the header called `name`, lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<std::borrow::Cow<'a, [u8]>> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        match found {
            Some((_, value)) => Some(value.into()),
            None if self.headers.may_be_cut() => self.gateway.header(name).map(Into::into),
            None => None,
        }
    }
}

#[cfg(test)]
#[allow(missing_docs)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// `pairs` as a gateway hands them over.
    pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
        let word = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let mut bytes = word(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend([word(name.len()), word(value.len())].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        bytes
    }

    /// A gateway that answers from two tables.
    #[derive(Default)]
    pub struct Answers {
        pub properties: HashMap<String, Vec<u8>>,
        pub headers: HashMap<String, Vec<u8>>,
    }

    impl Gateway for Answers {
        fn property(&self, path: &str) -> Option<Vec<u8>> {
            self.properties.get(&path.replace('\0', ".")).cloned()
        }
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.headers.get(name).cloned()
        }
    }

    #[test]
    fn headers_come_out_as_they_went_in() {
        let bytes =
            pairs(&[(":method", "GET"), (":path", "/a?b"), ("X-Empty", ""), ("x-two", "1"), ("x-two", "2")]);
        let gateway = Answers::default();
        let request = Request::new(Headers::new(&bytes), &gateway);
        assert_eq!((request.method, request.path), (b"GET".as_slice(), b"/a?b".as_slice()));
        assert_eq!(request.header("x-empty").as_deref(), Some(b"".as_slice()));
        assert_eq!(request.header("x-two").as_deref(), Some(b"1".as_slice()));
        assert_eq!(request.header("x-none"), None);
        assert_eq!(request.headers.iter().count(), 5);
    }

    #[test]
    fn a_second_path_is_a_forgery() {
        let bytes = pairs(&[(":method", "GET"), (":path", "/compare"), ("a", "b"), (":path", "/health")]);
        assert_eq!(Request::new(Headers::new(&bytes), &Answers::default()).path, b"/compare");
    }

    #[test]
    fn a_header_that_a_host_cut_off_is_asked_for() {
        let mut list = vec![(":method", "GET"), (":path", "/")];
        list.resize(100, ("x-junk", "1"));
        let gateway =
            Answers { headers: [("x-consumer".into(), b"acme".to_vec())].into(), ..Answers::default() };
        let cut = pairs(&list);
        assert_eq!(
            Request::new(Headers::new(&cut), &gateway).header("x-consumer").as_deref(),
            Some(b"acme".as_slice())
        );
        let whole = pairs(&list[..99]);
        assert_eq!(
            Request::new(Headers::new(&whole), &gateway).header("x-consumer"),
            None,
            "no call into the host"
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_within_their_bounds(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u32..20, cut in 0_usize..200,
        ) {
            let _ = Headers::new(&bytes).iter().count();
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                *head = count.to_le_bytes();
            }
            for (name, value) in Headers::new(&bytes).iter() {
                prop_assert!(name.len() + value.len() <= bytes.len());
            }
            let good = pairs(&[("a", "bb"), ("ccc", "dddd")]);
            let cut = &good[..cut.min(good.len())];
            prop_assert!(Headers::new(cut).iter().count() <= 2);
        }
    }
}
