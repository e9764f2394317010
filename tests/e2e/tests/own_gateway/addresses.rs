//! Anonymous clients, which differ by their addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tollgate_e2e::standing::Standing;

use crate::Site;

#[test]
fn each_ipv4_address_has_a_bucket_of_its_own() {
    let site = Site::with_policy(|_| ());
    for last in 1..=3 {
        for left in [29, 28] {
            let mut anonymous = site.client().from(IpAddr::V4(Ipv4Addr::new(127, 0, 2, last)));
            let standing = Standing::of(&anonymous.get("/identify").unwrap());
            assert_eq!((standing.tier.as_str(), standing.remaining), ("anonymous", left));
        }
    }
}

#[test]
fn an_anonymous_client_over_ipv6_is_limited_too() {
    let loopback: SocketAddr = "[::1]:0".parse().unwrap();
    let site = Site::with(1, |config| config.listening(loopback));
    let statuses: Vec<u16> = (0..31).map(|_| site.client().get("/identify").unwrap().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 30);
    assert_eq!(statuses.last(), Some(&429));
}
