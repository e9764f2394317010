//! Hostile bytes: they never cause a trap or a 5xx.

use tollgate_host::{Exchange, Personality, Request};
use tollgate_node::table::SLOT_BYTES;

use crate::{Gate, by, policy};

/// Values that have broken parsers.
fn hostile() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b",".to_vec(),
        b",,,,".to_vec(),
        b"\0".to_vec(),
        b"a\r\nX-Injected: 1".to_vec(),
        b"a\nb".to_vec(),
        b"\x7f\x1b[31m".to_vec(),
        b"\xff\xfe\xfd".to_vec(),
        b"\xc3\x28".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        "\u{202e}pro".as_bytes().to_vec(),
        b"..%2f..%2f".to_vec(),
        b"%".to_vec(),
        b"%zz%0".to_vec(),
        b"tollgate/aAAA".to_vec(),
        b"\"}],{\"".to_vec(),
        b"-1".to_vec(),
        b"18446744073709551616".to_vec(),
    ];
    values.push(vec![b'a'; 64 << 10]);
    values.push(vec![0xff; 64 << 10]);
    values.push(vec![b','; 64 << 10]);
    values.push(b"/..".repeat(16 << 10));
    values.push((0..=255).collect());
    values
}

fn is_unharmed(exchange: &Exchange, what: &str) {
    assert!(matches!(exchange.client.status, 200 | 429), "{what}: {}", exchange.client.status);
    let headers =
        exchange.client.headers.0.iter().chain(exchange.upstream.iter().flat_map(|seen| &seen.headers.0));
    for (name, value) in headers.filter(|(name, _)| name.to_ascii_lowercase().starts_with(b"x-quota")) {
        let control = value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        assert!(!control, "{what}: {} is {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
}

/// Sends what `make` makes of every hostile value.
fn survives(what: &str, make: impl Fn(&[u8]) -> Request) {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        for value in hostile() {
            let shown: String = String::from_utf8_lossy(&value).chars().take(20).collect();
            let exchange = gate.ask(make(&value));
            is_unharmed(&exchange, &format!("{personality}, {what} = {shown:?}"));
        }
        assert_eq!(gate.passed(&by("afterwards"), 160), 150, "{what}");
    }
}

#[test]
fn hostile_bytes_in_any_header_harm_nobody() {
    for name in [
        "x-consumer-username",
        "x-consumer-groups",
        "x-anonymous-consumer",
        "x-quota-tier",
        "x-quota-consumer",
        "x-ratelimit-limit",
        "host",
        "cookie",
    ] {
        survives(name, |value| by("fay").header(name, value));
        survives(name, |value| Request::get("/identify").header(name, value));
    }
}

#[test]
fn hostile_bytes_in_a_headers_name_harm_nobody() {
    survives("a header's name", |value| by("fay").header(value, "1"));
    survives("a header's name", |value| by("fay").header([b"x-quota-".as_slice(), value].concat(), "1"));
    survives("a header's name", |value| by("fay").header([b"x-ratelimit-".as_slice(), value].concat(), "1"));
}

#[test]
fn hostile_bytes_in_any_property_harm_nobody() {
    for path in ["kong.ctx.shared.tollgate_consumer", "kong.ctx.shared.tollgate_tier", "source.address"] {
        survives(path, |value| Request::get("/identify").property(path, value));
        survives(path, |value| by("fay").property(path, value));
    }
}

#[test]
fn hostile_bytes_in_path_and_method_harm_nobody() {
    survives("path", |value| Request::get(value).header("x-consumer-username", "fay"));
    survives("path", |value| {
        Request::get([b"/".as_slice(), value].concat()).header("x-consumer-username", "fay")
    });
    survives("query", |value| {
        Request::get([b"/identify?".as_slice(), value].concat()).header("x-consumer-username", "fay")
    });
    survives("method", |value| {
        Request::new(&String::from_utf8_lossy(value), "/identify").header("x-consumer-username", "fay")
    });
}

#[test]
fn ten_thousand_headers_harm_nobody() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        let many = (0..10_000).fold(by("fay"), |request, i| request.header(format!("x-quota-{i}"), "1"));
        is_unharmed(&gate.ask(many), "ten thousand headers");
        assert_eq!(gate.passed(&by("fay"), 160), 149);
    }
}

#[test]
fn a_request_without_any_header_is_survived() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        let mut request = Request::get("/identify");
        request.headers.0.clear();
        is_unharmed(&gate.ask(request.clone()), "no headers");
        request.method = String::new();
        request.path = Vec::new();
        is_unharmed(&gate.ask(request), "no headers, method, path");
    }
}

#[test]
fn hostile_bytes_from_the_upstream_harm_nobody() {
    for name in ["x-ratelimit-limit", "ratelimit", "retry-after", "x-quota-tier"] {
        survives(name, |value| by("fay").upstream_header(name, &String::from_utf8_lossy(value)));
    }
}

#[test]
fn spoilt_shared_data_is_survived() {
    for personality in Personality::ALL {
        for spoil in
            [|_: usize| 0xff, |_: usize| 0, |place: usize| place as u8, |place: usize| (place * 37) as u8]
        {
            let mut gate = Gate::new(personality, 2, &policy());
            gate.passed(&by("fay"), 20);
            // The length stays: another layout of the same size, or bad memory, would leave such a value.
            for value in gate.node.shared_data().values_mut() {
                value.iter_mut().enumerate().for_each(|(place, byte)| *byte = spoil(place));
            }
            for i in 0..50 {
                is_unharmed(&gate.ask(by(&format!("c{i}"))), "spoilt shared data");
                is_unharmed(
                    &gate.ask(Request::get("/identify").from_ip(&format!("192.0.2.{i}"))),
                    "spoilt shared data",
                );
            }
            gate.node.lose_instance(0);
            is_unharmed(&gate.ask(by("fay").on_worker(0)), "a new instance on spoilt shared data");
        }
    }
}

#[test]
fn a_record_with_a_bit_gone_wrong_is_no_record() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        // Envoy's slot is created by the first request; all other entries have another length.
        let is_slot = |value: &&mut Vec<u8>| value.len() == SLOT_BYTES;
        let values = |gate: &Gate| -> Vec<Vec<u8>> {
            gate.node
                .shared_data()
                .values_mut()
                .into_iter()
                .filter(is_slot)
                .map(|value| value.clone())
                .collect()
        };
        gate.passed(&by("fay"), 1);
        let before = values(&gate);
        gate.passed(&by("fay"), 1);
        let after = values(&gate);
        let slot =
            (0..before.len()).find(|slot| before[*slot] != after[*slot]).expect("a record was written");
        let changed: Vec<usize> =
            (0..before[slot].len()).filter(|place| before[slot][*place] != after[slot][*place]).collect();
        gate.passed(&by("fay"), 160);
        let drained = values(&gate)[slot].clone();
        for place in changed[0]..=changed[changed.len() - 1] {
            let mut spoilt = drained.clone();
            spoilt[place] ^= 1 << (place % 8);
            *gate.node.shared_data().values_mut().into_iter().filter(is_slot).nth(slot).unwrap() = spoilt;
            assert_eq!(gate.passed(&by("fay"), 160), 150, "{personality}: bit {} of byte {place}", place % 8);
        }
    }
}
