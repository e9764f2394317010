//! A consumer's name may be any bytes: each has one text, no two share one, and a text read back is the name written.
//!
//! An input is two names separated by a newline; the whole input is read as a text, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::client::Client;
use tollgate_core::client::Namespace;
use tollgate_core::name::MAX_NAME;
use tollgate_core::name::{MAX_TEXT, as_sent, bytes, is_of, read, text};

fuzz_target!(|input: &[u8]| {
    let namespace = Namespace::new("n");
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (one, two) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let texts = [one, two].map(|name| (!name.is_empty()).then(|| written(name, &namespace)));
    if let [Some(first), Some(second)] = &texts {
        assert_eq!(one == two, first == second, "{first:?} {second:?}");
    }
    let Ok(input) = std::str::from_utf8(input) else { return };
    if let Some(named) = read(input, &namespace) {
        assert_eq!(text(&named.stored, named.client), named.text.as_str());
        assert!(named.text == input || input.len() > MAX_NAME, "{input:?} is {:?}", named.text);
        assert_eq!(bytes(input).is_some(), named.is_whole);
    }
});

/// The text of `name`, which must lead back to it.
fn written(name: &[u8], namespace: &Namespace) -> String {
    let client = namespace.id(&Client::Consumer(name));
    let stored = as_sent(name, client);
    assert!(stored.len() <= MAX_NAME && is_of(&stored, client, namespace));
    let written = text(&stored, client).into_owned();
    assert!(written.chars().count() <= MAX_TEXT && !written.contains(char::is_control));
    let named = read(&written, namespace).expect("what is written is read");
    assert_eq!((named.client, &named.stored[..], &named.text), (client, &stored[..], &written));
    written
}
