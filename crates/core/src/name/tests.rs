use super::*;
use proptest::prelude::*;

fn namespace() -> Namespace {
    Namespace::new("n")
}

fn id(name: &[u8]) -> ClientId {
    namespace().id(&Client::Consumer(name))
}

/// How listings write a consumer called `name`.
fn written(name: &[u8]) -> String {
    text(&as_sent(name, id(name)), id(name)).into_owned()
}

#[test]
fn ordinary_names_are_written_as_they_are() {
    for name in
        ["acme", "a/b ä 中", "100%", "%41", "a%FFb", "a~b", "%", "~", ":%:", "\u{202e}x", &"n".repeat(1_024)]
    {
        assert_eq!(written(name.as_bytes()), name);
    }
}

#[test]
fn other_names_are_written_in_bytes() {
    for (name, expected) in [
        (&b"caf\xe9"[..], "%:caf%E9"),
        (b"\xff\xfe\x80", "%:%FF%FE%80"),
        (b"a\0b\n", "%:a%00b%0A"),
        ("\u{85}ä".as_bytes(), "%:%C2%85ä"),
        (b"%:caf%E9", "%:%25:caf%25E9"),
        (b"%:", "%:%25:"),
        (b"\xff~%", "%:%FF%7E%25"),
    ] {
        assert_eq!(written(name), expected);
        assert_eq!(read(expected, &namespace()).unwrap().stored, name);
    }
}

#[test]
fn a_long_name_is_its_beginning_and_its_number() {
    let name = [&[b'a'; 63][..], &[0xff; 1_000]].concat();
    let expected = format!("%:{}%FF~{}", "a".repeat(63), id(&name));
    assert_eq!(written(&name), expected);
    let named = read(&expected, &namespace()).unwrap();
    assert_eq!((named.client, named.text.as_str()), (id(&name), expected.as_str()));
    // The full name is the same consumer.
    let name = "ä".repeat(600);
    let named = read(&name, &namespace()).unwrap();
    assert_eq!((named.client, named.text), (id(name.as_bytes()), written(name.as_bytes())));
    // A short name that looks like a long one's text is written differently.
    let looks = format!("%:{}~{}", "a".repeat(64), id(b"another"));
    assert_ne!(written(looks.as_bytes()), looks);
    assert_eq!(read(&written(looks.as_bytes()), &namespace()).unwrap().client, id(looks.as_bytes()));
}

#[test]
fn what_no_consumer_is_written_as_is_not_read() {
    let number = id(b"x").to_string();
    let (kept, upper) = ("a".repeat(64), number.to_uppercase());
    for text in [
        "",
        "a\0",
        "\u{9b}",
        "%:",
        "%:acme",
        "%:%41",
        "%:%ff",
        "%:%F",
        "%:%",
        "%:~",
        "%:%FF~",
        "%:%C3%A4",
        &format!("%:a~{number}"),
        &format!("%:{kept}~{upper}"),
        &format!("%:{kept}~+{}", &number[1..]),
        &format!("%:{kept}~{number}0"),
        &format!("%:{kept}"),
        &format!("%:{}", "%FF".repeat(1_025)),
    ] {
        assert_eq!(read(text, &namespace()), None, "{text}");
    }
}

#[test]
fn a_name_that_is_another_clients_is_not_taken() {
    assert!(is_of(b"acme", id(b"acme"), &namespace()) && !is_of(b"acme", id(b"acm"), &namespace()));
    let name = [b'x'; 2_000];
    let sent = as_sent(&name, id(&name));
    assert!(is_of(&sent, id(&name), &namespace()) && !is_of(&sent, id(b"acme"), &namespace()));
    assert!(sent.len() <= MAX_NAME);
}

/// Names that come close to what the rules look at.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"%:".to_vec()),
        Just(b"%25".to_vec()),
        Just(b"%FF".to_vec()),
        Just(b"~".to_vec()),
        Just(vec![0xff]),
        Just(vec![0]),
        Just(b"a".repeat(64)),
        Just(b"b".repeat(1_024)),
        Just(id(b"a").to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 1..4),
        "\\PC{1,3}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_two_consumers_are_written_alike_and_each_is_found_by_what_is_written(one in name(), other in name()) {
        for name in [&one, &other] {
            let (client, stored, written) = (id(name), as_sent(name, id(name)), written(name));
            prop_assert!(is_of(&stored, client, &namespace()));
            let named = read(&written, &namespace()).unwrap();
            let is_whole = name.len() <= MAX_NAME;
            prop_assert_eq!(named, Named { client, stored: stored.to_vec(), text: written.clone(), is_whole });
            prop_assert!(written.chars().count() <= MAX_TEXT && !written.contains(char::is_control));
            // What listings wrote may itself be the name of another consumer.
            if written.as_bytes() != name.as_slice() {
                prop_assert_ne!(self::written(written.as_bytes()), written);
            }
        }
        prop_assert_eq!(one == other, written(&one) == written(&other));
    }

    #[test]
    fn what_is_read_is_what_would_be_written(text in prop_oneof![any::<String>(), "(%:)?(a|%25|%FF|%C3|~|\\PC){0,6}"]) {
        if let Some(named) = read(&text, &namespace()) {
            prop_assert_eq!(read(&named.text, &namespace()), Some(named.clone()));
            prop_assert_eq!(named.text, text);
        }
    }
}
