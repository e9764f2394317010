//! A sealed month never changes.

use std::thread;

use crate::*;

const SEAL: [&str; 3] = ["--seal", "--output=out", "--format=json"];

fn sold() -> Scene {
    Scene::new(december().with("cus_1", "acme", "pro", "1500000").with("cus_2", "beta", "pro", "1"))
}

#[test]
fn what_is_sealed_stays_and_another_result_is_refused_with_what_differs() {
    let scene = sold();
    assert_eq!(scene.run(&SEAL).code, Some(0));
    let sealed = scene.read("out/invoices-2026-11.json");
    let json: Value = serde_json::from_str(&sealed).unwrap();
    assert_eq!((&json["sealed"], &json["issued"]), (&json!(true), &json!("2026-12-02")));
    assert_eq!(json["digests"]["prices"].as_str().unwrap().len(), 64);

    // Later, with a price of another month and another seller, it is the same to the byte.
    scene.store.change(|says| says.date = "Fri, 04 Dec 2026 10:00:00 GMT");
    std::fs::write(scene.path("prices.yaml"), format!("seller: New Ltd\n{PRICES}")).unwrap();
    for flags in [&SEAL[..], &["--output=out"], &["--output=out/"]] {
        assert_eq!(scene.run(flags).code, Some(0), "{flags:?}");
        assert_eq!(scene.read("out/invoices-2026-11.json"), sealed, "{flags:?}");
    }
    assert_eq!(scene.run(&["--output=out/copy.json"]).code, Some(0));
    assert_eq!(scene.read("out/copy.json"), sealed);

    scene.store.change(|says| says.usage[0].2 = "1600000".into());
    let before = scene.names("out");
    for flags in [
        &SEAL[..],
        &["--output=out"],
        &["--output=out", "--format=html"],
        &["--output=out/x.csv", "--format=csv"],
        &["--output=out", "--customer=cus_2"],
    ] {
        let ran = scene.run(flags);
        assert_eq!(ran.code, Some(3), "{flags:?}: {}", ran.err);
        assert_eq!(
            ran.err,
            format!(
                "tollgate invoice: {} is sealed, and the result is another one now; nothing was written:\n\
                 tollgate invoice: total: sealed as 288.00, now 328.00\n\
                 tollgate invoice: customer cus_1: sealed with 239.00, now 279.00\n\
                 tollgate invoice: the file of prices is another one than at the sealing\n",
                if flags[0].ends_with("out/") {
                    "out//invoices-2026-11.json"
                } else {
                    "out/invoices-2026-11.json"
                }
            )
        );
        assert_eq!(
            (scene.read("out/invoices-2026-11.json"), scene.names("out")),
            (sealed.clone(), before.clone())
        );
    }
    // Elsewhere it may be looked at.
    assert_eq!(scene.run(&[]).json()["total"], "328.00");
}

#[test]
fn numbers_stay_when_a_customer_comes_late() {
    let scene = sold();
    assert_eq!(scene.run(&SEAL).code, Some(0));
    scene.store.change(|says| {
        says.customers.push(("late".into(), json!([{"customer": "aaa", "starts": null, "ends": null}])));
        says.usage.push(("late".into(), "pro", "1".into()));
    });
    let ran = scene.run(&["--output=out"]);
    assert_eq!(ran.code, Some(3));
    for said in [
        "customer aaa: sealed without an invoice, now 49.00",
        "customer cus_1: sealed as fp-2026-11-0001, now fp-2026-11-0002",
    ] {
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn a_draft_is_not_sealed_and_nothing_is_where_strict_finds_something() {
    let scene = sold();
    scene.store.change(|says| says.date = "Tue, 01 Dec 2026 00:30:00 GMT");
    let ran = scene.run(&SEAL);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            Some(1),
            "tollgate invoice: 2026-11 can still change by the store's clock; seal it after 2026-12-01T01:00:00Z\n"
        )
    );
    assert!(!scene.path("out").exists());
    // A draft in the seal's place is replaced by the seal.
    assert_eq!(scene.run(&["--output=out/"]).code, Some(0));
    assert!(scene.read("out/invoices-2026-11.json").contains("\"draft\""));
    scene.store.change(|says| {
        says.date = "Tue, 01 Dec 2026 01:00:00 GMT";
        says.usage.push(("new".into(), "pro", "1".into()));
    });
    assert_eq!(scene.run(&["--seal", "--output=out", "--strict"]).code, Some(4));
    assert!(scene.read("out/invoices-2026-11.json").contains("\"sealed\": false"));
    assert_eq!(scene.run(&SEAL).code, Some(0));
    assert!(scene.read("out/invoices-2026-11.json").contains("\"sealed\": true"));
}

#[test]
fn what_may_be_a_seal_is_not_overwritten() {
    let scene = sold();
    assert_eq!(scene.run(&SEAL).code, Some(0));
    let sealed = scene.read("out/invoices-2026-11.json");
    for damaged in [&sealed[..sealed.len() / 2], "", "{}", &sealed.replace("\"sealed\"", "\"saeled\"")] {
        std::fs::write(scene.path("out/invoices-2026-11.json"), damaged).unwrap();
        let ran = scene.run(&SEAL);
        assert!(ran.code == Some(1) && ran.err.contains("move it, or restore it"), "{}", ran.err);
        assert_eq!(scene.read("out/invoices-2026-11.json"), damaged);
    }
    // Whoever changes an amount in it is found out.
    std::fs::write(scene.path("out/invoices-2026-11.json"), sealed.replace("239.00", "139.00")).unwrap();
    assert_eq!(scene.run(&["--output=out"]).code, Some(3));
}

#[test]
fn of_two_results_at_once_one_is_sealed() {
    let scene = sold();
    let other = Fake::start(december().with("cus_1", "acme", "pro", "9000000"));
    let run = |url: &str| scene.run_at(url, "2026-11", &SEAL).code;
    let codes = thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|at| if at % 2 == 0 { &scene.store.url } else { &other.url })
            .map(|url| scope.spawn(|| run(url)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    let (even, odd): (Vec<_>, Vec<_>) = codes.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
    let all = |codes: &[Option<i32>], code| codes.iter().all(|other| *other == Some(code));
    assert!((all(&even, 0) && all(&odd, 3)) || (all(&even, 3) && all(&odd, 0)), "{codes:?}");
    assert_eq!(scene.names("out"), ["invoices-2026-11.json"], "no part of a file stays");
}
