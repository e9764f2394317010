//! Many requests at once on several workers.

use std::time::Instant;

use tollgate_e2e::standing::Standing;
use tollgate_testkit::http::{Client, Request, at_once};

use crate::Site;

/// The pro tier's bucket: 1.5 × 1,000 units.
const BURST: u64 = 1500;

/// The pro tier's rate in units per second.
const RATE: f64 = 1000.0 / 60.0;

#[test]
fn four_workers_let_one_client_through_as_one() {
    let site = Site::with(4, |config| config);
    let request = Request::get("/identify").of("pro-01");
    let start = Instant::now();
    let passed: u64 = at_once(16, |_, start| {
        let mut client = site.client();
        client.connect().unwrap();
        start.wait();
        (0..200).filter(|_| passes(&mut client, &request)).count() as u64
    })
    .into_iter()
    .sum();
    let most = BURST + (start.elapsed().as_secs_f64() * RATE).floor() as u64;
    assert!((BURST..=most).contains(&passed), "{passed} of {BURST} to {most}");

    // The month's count has lost none of them and counted none twice.
    let last = site.ask("pro-01", "/identify");
    let counted = passed + u64::from(last.status == 200);
    assert_eq!(Standing::of(&last).month_left, Some(1_000_000 - counted));
    assert_eq!(site.upstream.requests(), counted);
}

fn passes(client: &mut Client, request: &Request) -> bool {
    let status = client.send(request).unwrap().status;
    assert!(matches!(status, 200 | 429), "{status}");
    status == 200
}

#[test]
fn a_crowd_of_clients_at_once_gets_each_its_own() {
    let site = Site::with(4, |config| config);
    let passed = at_once(16, |consumer, start| {
        let request = Request::get("/compare").of(&format!("free-{:02}", consumer + 1));
        let mut client = site.client();
        client.connect().unwrap();
        start.wait();
        let began = Instant::now();
        let passed = (0..100).filter(|_| passes(&mut client, &request)).count() as u64;
        // 150 units and the refill pass, at two per request.
        let most = (150 + (began.elapsed().as_secs_f64() * 100.0 / 60.0) as u64) / 2;
        (passed, most)
    });
    assert!(passed.iter().all(|(passed, most)| (75..=*most).contains(passed)), "{passed:?}");
}
