//! Stores that are old, broken or hostile: nothing is written, and the message says why.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use tollgate_testkit::redis::certificate::Certificates;

use crate::*;

/// The error of a run after `change`, which must leave nothing behind.
#[track_caller]
fn failing(change: impl FnOnce(&mut Says)) -> String {
    let scene = Scene::new(december().with("cus_1", "acme", "pro", "1").with("cus_2", "beta", "pro", "1"));
    scene.store.change(change);
    let ran = scene.run(&["--output=out.json"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(
        !scene.path("out.json").exists() && ran.err.lines().count() == 1 && ran.err.len() < 1_000,
        "{}",
        ran.err
    );
    ran.err
}

#[test]
fn an_old_store_is_told_apart() {
    let said = failing(|says| says.instead.push(("/v1/customers", 404, String::new())));
    assert_eq!(
        said,
        "tollgate invoice: GET /v1/customers/fp?limit=500: the store does not know this call, so it is too old for \
         invoices; upgrade it\n"
    );
    for (status, detail) in [(404, "x"), (400, "unknown field `from`, expected `month`")] {
        let said = failing(|says| {
            says.customers[0].1 = json!([{"customer": "cus_1", "starts": "2026-11-02", "ends": null}]);
            says.instead.push(("/v1/usage/fp/", status, json!({"detail": detail}).to_string()));
        });
        assert!(said.contains("by=day: the store does not know this call"), "{said}");
    }
}

#[test]
fn refusals_are_told_with_their_reason() {
    let said = failing(|says| {
        says.instead.push(("/v1/usage", 503, json!({"detail": "the backend is\u{1b}[0m away"}).to_string()))
    });
    assert!(said.contains("the store answers 503: the backend is\\u{1b}[0m away"), "{said}");
    let said = failing(|says| says.instead.push(("/v1/customers", 302, String::new())));
    assert!(said.contains("the store answers 302"), "a redirect is not followed: {said}");
    let said = failing(|says| says.instead.push(("/v1/customers", 500, "x".repeat(1_000_000))));
    assert!(said.contains("the store answers 500: xxx"), "{said}");
    let scene = Scene::new(december());
    let ran = scene.run(&["--admin-token=another-token-0001"]);
    assert!(ran.code == Some(1) && ran.err.contains("the store answers 401: no token"), "{}", ran.err);
    assert!(!ran.err.contains("another-token"), "{}", ran.err);
}

#[test]
fn a_list_that_breaks_off_makes_no_invoices() {
    assert!(failing(|says| says.breaks_off = true).contains("the answer broke off"));
    let row =
        "{\"namespace\":\"fp\",\"consumer\":\"acme\",\"tier\":\"pro\",\"month\":\"2026-11\",\"used\":1}";
    let half = format!("[{row}");
    assert!(failing(|says| says.instead.push(("/v1/usage", 200, half))).contains("the answer broke off"));
    let more = format!("[{row}] [{row}]");
    assert!(failing(|says| says.instead.push(("/v1/usage", 200, more))).contains("cannot be used"));
}

#[test]
fn rows_that_are_wrong_make_no_invoices() {
    for used in ["-1", "1e3", "0.0001", "\"1\"", "null", "18446744073709551.616", "NaN"] {
        let said = failing(|says| says.usage[0].2 = used.into());
        assert!(said.contains("cannot be used: "), "{used}: {said}");
    }
    let said = failing(|says| says.usage[0].0 = "x".repeat(70_000));
    assert!(said.contains("longer than any such answer"), "{said}");
    for other in
        ["\"namespace\":\"other\",\"month\":\"2026-11\"", "\"namespace\":\"fp\",\"month\":\"2026-10\""]
    {
        let list = format!("[{{{other},\"consumer\":\"a\",\"tier\":\"pro\",\"used\":1}}]");
        let said = failing(|says| says.instead.push(("/v1/usage", 200, list)));
        assert!(said.contains("a row is of 2026-1"), "{said}");
    }
}

#[test]
fn customers_that_cannot_be_are_refused() {
    let both = json!([
        {"customer": "a", "starts": null, "ends": "2026-11-10"},
        {"customer": "b", "starts": "2026-11-09", "ends": null},
    ]);
    let said = failing(|says| says.customers[0].1 = both);
    assert!(said.contains("consumer acme has two customers on 2026-11-09"), "{said}");
    let said = failing(|says| {
        says.customers[0].1 = json!([{"customer": "a", "starts": "2026-11-31", "ends": null}])
    });
    assert!(said.contains("a day is not one"), "{said}");
    let endless = json!({"customers": [{"consumer": "x", "periods": []}], "next": "same"}).to_string();
    let said = failing(|says| says.instead.push(("/v1/customers", 200, endless)));
    assert!(said.contains("its pages do not end"), "{said}");
    let empty = json!({"customers": [], "next": "more"}).to_string();
    let said = failing(|says| says.instead.push(("/v1/customers", 200, empty)));
    assert!(said.contains("its pages do not end"), "{said}");
}

#[test]
fn days_that_cannot_be_are_refused() {
    for days in
        [&[("2026-12-01", "1")][..], &[("2026-11-01", "1"), ("2026-11-01", "1")], &[("2026-11-01", "1e1")]]
    {
        let said = failing(|says| {
            says.customers[0].1 = json!([{"customer": "cus_1", "starts": "2026-11-02", "ends": null}]);
            says.days.insert("acme".into(), days.to_vec());
        });
        assert!(said.contains("by=day: "), "{said}");
    }
}

#[test]
fn nobody_there_is_told() {
    let ran = Scene::new(december()).run_at("http://127.0.0.1:1", "2026-11", &[]);
    assert!(
        ran.code == Some(1) && ran.err.contains("the store at 127.0.0.1:1 cannot be reached: "),
        "{}",
        ran.err
    );
}

/// A real store with TLS, which ends with the test.
struct Store(Child);

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_stores_certificate_is_checked() {
    let (ours, others) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["store", "--listen=127.0.0.1:0", "--backend=memory", "--log-format=json"]).env_clear();
    command.arg("--tls-cert").arg(ours.directory().join("server.pem"));
    command.arg("--tls-key").arg(ours.directory().join("server.key"));
    let mut store = Store(command.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(store.0.stderr.take().unwrap());
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let listening = lines.find(|line| line["message"] == "listening").unwrap();
    let url = format!("https://{}", listening["address"].as_str().unwrap());

    let scene = Scene::new(december());
    let current = "2026-11";
    let with = |authority: &Certificates| {
        let ca = authority.directory().join("ca.pem");
        scene.run_at(&url, current, &["--ca", ca.to_str().unwrap()])
    };
    let refused = with(&others);
    assert!(
        refused.code == Some(1) && refused.err.contains("cannot be reached: invalid peer certificate"),
        "{}",
        refused.err
    );
    let trusted = with(&ours);
    assert!(
        !trusted.err.contains("cannot be reached") && !trusted.err.contains("broke off"),
        "{}",
        trusted.err
    );
}
