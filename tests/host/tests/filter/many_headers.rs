//! Requests with more headers than Kong's host can list.

use tollgate_host::{Personality, Request};

use crate::{Gate, by, on_every_gate, policy};

/// Numbers of headers around those at which Kong's host goes wrong, and far beyond.
const COUNTS: [usize; 13] = [0, 1, 50, 90, 95, 96, 97, 98, 99, 100, 101, 200, 1_000];

/// `request` with `count` more headers before its own.
fn behind(request: Request, count: usize, value: &[u8]) -> Request {
    let own = request.headers.0.clone();
    let mut request = Request { headers: Default::default(), ..request };
    request = (0..count).fold(request, |request, number| request.header(format!("a{number}"), value));
    request.headers.0.extend(own);
    request
}

#[test]
fn a_request_is_whose_it_is_however_many_headers_come_before() {
    on_every_gate(&policy(), |gate| {
        for count in COUNTS {
            for value in [&b""[..], b"1", &[b'v'; 300]] {
                let request = by(&format!("c{count}-{}", value.len())).header("x-consumer-groups", "pro");
                let exchange = gate.ask(behind(request, count, value));
                assert_eq!(exchange.client.status, 200);
                assert_eq!(exchange.client.header("x-quota-tier"), Some("pro"), "{count}");
                assert_eq!(exchange.client.header("x-quota-monthly-remaining"), Some("999999"), "{count}");
            }
        }
    });
}

#[test]
fn a_price_is_that_of_the_path_and_the_method_however_many_headers_there_are() {
    on_every_gate(&policy(), |gate| {
        for count in COUNTS {
            let compare = Request::get("/compare").header("x-consumer-username", format!("c{count}"));
            let exchange = gate.ask(behind(compare, count, b"1"));
            assert_eq!(exchange.client.header("x-quota-monthly-remaining"), Some("49998"), "{count}");
        }
    });
}

#[test]
fn what_only_the_gateway_may_say_reaches_no_upstream_behind_many_headers() {
    on_every_gate(&policy(), |gate| {
        for count in COUNTS {
            let forged = by(&format!("c{count}"))
                .header("X-Quota-Consumer", "forged")
                .header("X-Quota-Cost", "forged")
                .header("x_quota-cost", "forged")
                .header("x_quota_tier", "forged")
                .header("X-Quota_Monthly-Remaining", "forged")
                .header("x-ratelimit-limit", "forged");
            let seen = gate.ask(behind(forged, count, b"1")).upstream.expect("it passed");
            let values = seen.headers.0.iter().map(|(_, value)| value);
            assert!(values.clone().all(|value| value != b"forged"), "{count}");
            assert_eq!(seen.header("x-quota-consumer"), Some(format!("c{count}").as_str()));
            assert_eq!(seen.header("x-quota-tier"), Some("free"));
        }
    });
}

#[test]
fn up_to_96_headers_are_read_in_one_call() {
    let mut gate = Gate::new(Personality::Kong, 1, &policy());
    for (count, calls) in [(1, 1), (94, 1), (95, 0), (500, 0)] {
        // The request also has a host and a consumer header. The response's headers are another call.
        let exchange = gate.ask(behind(by("fay"), count, b"1"));
        assert_eq!(exchange.host_calls("proxy_get_header_map_pairs"), calls + 1, "{count}");
    }
}

#[test]
fn an_upstreams_copies_are_replaced_however_many_headers_it_sends() {
    on_every_gate(&policy(), |gate| {
        for count in COUNTS {
            for copies in 0..=2 {
                let names = ["x-ratelimit-limit", "X-Quota-Tier", "RateLimit"];
                let request = (0..count)
                    .fold(by("fay"), |request, number| request.upstream_header(&format!("a{number}"), "1"));
                let request = (names.into_iter().cycle().take(names.len() * copies))
                    .fold(request, |request, name| request.upstream_header(name, "upstream's"));
                let exchange = gate.ask(request.header("x-consumer-groups", "pro"));
                for name in names {
                    let values: Vec<_> = exchange.client.headers.all(name.as_bytes()).collect();
                    assert_eq!(values.len(), 1, "{copies} copies of {name} behind {count}: {values:?}");
                    assert_ne!(values[0], b"upstream's");
                }
                assert_eq!(exchange.client.header("x-quota-tier"), Some("pro"));
            }
        }
    });
}

#[test]
fn of_up_to_93_response_headers_none_is_removed_where_none_is_there() {
    let mut gate = Gate::new(Personality::Kong, 1, &policy());
    // Besides these, one more header is always there.
    for (count, copies, removed) in [(0, 0, 0), (92, 0, 0), (90, 1, 8), (93, 0, 8), (500, 1, 8)] {
        let request =
            (0..count).fold(by("fay"), |request, number| request.upstream_header(&format!("a{number}"), "1"));
        let request = (0..copies).fold(request, |request, _| request.upstream_header("RateLimit", "1"));
        let exchange = gate.ask(request);
        assert_eq!(exchange.host_calls("proxy_remove_header_map_value"), removed, "{count} headers");
    }
}
