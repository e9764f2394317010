//! Anonymous clients: one bucket per address.

use tollgate_host::{Personality, Request};

use crate::{Gate, on_every_gate, policy};

fn from(ip: &str) -> Request {
    Request::get("/identify").from_ip(ip)
}

#[test]
fn an_address_has_a_bucket_whatever_its_port() {
    on_every_gate(&policy(), |gate| {
        let mut request = from("192.0.2.1");
        assert_eq!(gate.passed(&request, 20), 20);
        request.peer.set_port(9);
        assert_eq!(gate.passed(&request, 20), 10);
        assert_eq!(gate.passed(&from("192.0.2.2"), 40), 30);
    });
}

#[test]
fn a_network_of_64_bits_is_one_client() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&from("2001:db8:0:1::1"), 20), 20);
        assert_eq!(gate.passed(&from("2001:db8:0:1:ffff::2"), 20), 10);
        assert_eq!(gate.passed(&from("2001:db8:0:2::1"), 40), 30);
    });
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&from("192.0.2.1"), 20), 20);
        assert_eq!(gate.passed(&from("::ffff:192.0.2.1"), 20), 10);
        assert_eq!(gate.passed(&from("::ffff:192.0.2.2"), 20), 20, "mapped addresses are not one network");
    });
}

#[test]
fn an_anonymous_client_is_told_so_and_the_upstream_too() {
    on_every_gate(&policy(), |gate| {
        let exchange = gate
            .ask(from("192.0.2.1").header("X-Quota-Consumer", "root").header("X-Forwarded-For", "9.9.9.9"));
        assert_eq!(exchange.client.header("x-quota-tier"), Some("anonymous"));
        assert_eq!(exchange.client.header("x-ratelimit-limit"), Some("30"));
        assert_eq!(exchange.client.header("x-ratelimit-remaining"), Some("29"));
        assert_eq!(exchange.client.header("x-quota-monthly-remaining"), None);
        let seen = exchange.upstream.unwrap();
        assert_eq!(seen.header("x-quota-tier"), Some("anonymous"));
        // Kong can only blank the client's copy.
        let blank = gate.is_kong().then_some(" ");
        assert_eq!(seen.header("x-quota-consumer"), blank);
    });
}

#[test]
fn what_a_client_says_about_its_address_changes_nothing() {
    on_every_gate(&policy(), |gate| {
        let spoofed = |i: usize| {
            let ip = format!("198.51.100.{i}");
            from("192.0.2.1")
                .header("X-Forwarded-For", &ip)
                .header("X-Real-IP", &ip)
                .header("Forwarded", format!("for={ip}"))
        };
        let passed = (0..40).filter(|i| gate.status(spoofed(*i)) == 200).count();
        assert_eq!(passed, 30);
    });
}

#[test]
fn an_address_that_is_none_is_one_client_like_any_other() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        for address in ["", "unix:", "nonsense", "1.2.3.4.5", "[::1", "fe80::1%eth0", "\u{fffd}"] {
            let status = gate.status(Request::get("/identify").property("source.address", address));
            assert!(matches!(status, 200 | 429), "{status} for {address:?}");
        }
    }
}
