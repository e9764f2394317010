//! `tollgate invoice` as a process, against a server that speaks as a store does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test may stop where it fails"
)]

mod fake;
mod hostile;
mod pages;
mod sealing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::fake::{Fake, Says, TOKEN, december};

const PRICES: &str = "currency: EUR
tiers:
  free: { month: 0, included: unlimited }
  pro:
    month: 49.00
    included: 1000000
    overage:
      - { up_to: 1000000, price: 0.0004 }
      - { price: 0.0002 }
credits:
  - { customer: cus_1, amount: 10.00, from: 2026-11, until: 2027-01, reason: launch offer }
";

/// A directory with prices, and a store beside it.
struct Scene {
    folder: TempDir,
    store: Fake,
}

/// How a run ended, and what it said.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

impl Scene {
    fn new(says: Says) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prices.yaml"), PRICES).unwrap();
        Self { folder, store: Fake::start(says) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names in a directory, sorted.
    fn names(&self, name: &str) -> Vec<String> {
        let entries = self.path(name).read_dir().unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs the command in the directory, for November.
    fn run(&self, flags: &[&str]) -> Ran {
        self.run_at(&self.store.url, "2026-11", flags)
    }

    fn run_at(&self, url: &str, month: &str, flags: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["invoice", "--prices=prices.yaml", "--namespace=fp", "--month", month, "--store", url]);
        command.args(flags).env_clear().env("TOLLGATE_ADMIN_TOKEN", TOKEN).current_dir(self.folder.path());
        Ran::of(command.output().unwrap())
    }
}

#[test]
fn a_month_becomes_invoices_that_add_up() {
    let says = december()
        .with("cus_2", "acme", "pro", "1500000.5")
        .with("cus_1", "billing/worker ä", "free", "12.5")
        .with("cus_2", "acme-eu", "pro", "1000000")
        .with("cus_1", "w", "pro", "0.001")
        .with("cus_3", "unused", "pro", "0");
    let scene = Scene::new(says);
    let ran = scene.run(&[]);
    let json = ran.json();
    assert_eq!(ran.err, "");
    let invoices = json["invoices"].as_array().unwrap();
    let of =
        |index: usize| (&invoices[index]["number"], &invoices[index]["customer"], &invoices[index]["total"]);
    assert_eq!(of(0), (&json!("fp-2026-11-0001"), &json!("cus_1"), &json!("39.00")));
    assert_eq!(of(1), (&json!("fp-2026-11-0002"), &json!("cus_2"), &json!("549.00")));
    assert_eq!(invoices[1]["sections"][0]["used"], "2500000.5");
    assert_eq!(json["total"], "637.00");
    assert_eq!(
        (&json["status"], &json["issued"], &json["sealed"]),
        (&json!("final"), &json!("2026-12-02"), &json!(false))
    );
    let asked = scene.store.asked();
    assert_eq!(asked.len(), 4, "three pages of customers and one list: {asked:?}");
    assert_eq!(asked[1], "/v1/customers/fp?limit=500&after=after%2F2");
    assert_eq!(asked[3], "/v1/usage/fp?month=2026-11&format=json");

    let one = scene.run(&["--customer=cus_2"]).json();
    assert_eq!((&one["invoices"][0]["number"], &one["total"]), (&json!("fp-2026-11-0002"), &json!("549.00")));
    let nobody = scene.run(&["--customer=cus_9"]);
    assert_eq!(
        (nobody.code, nobody.err.as_str()),
        (Some(1), "tollgate invoice: customer cus_9 has no invoice for 2026-11\n")
    );
}

#[test]
fn amounts_are_exact_where_doubles_are_not() {
    let scene = Scene::new(december().with("c", "x", "free", "9007199254740993.001"));
    assert_eq!(scene.run(&[]).json()["invoices"][0]["sections"][0]["used"], "9007199254740993.001");
}

#[test]
fn a_customer_that_changes_inside_the_month_pays_for_its_days() {
    let mut says = december().with("cus_1", "steady", "pro", "5");
    let periods = json!([
        {"customer": "cus_2", "starts": "2026-11-10", "ends": "2026-11-20"},
        {"customer": "cus_1", "starts": null, "ends": "2026-11-10"},
    ]);
    says.customers.push(("moved".into(), periods));
    says.usage.push(("moved".into(), "pro", "111.111".into()));
    let days = [("2026-11-01", "1"), ("2026-11-09", "10.001"), ("2026-11-10", "100"), ("2026-11-20", "0.11")];
    says.days.insert("moved".into(), days.to_vec());
    let scene = Scene::new(says);
    let json = scene.run(&[]).json();
    assert_eq!(
        json["invoices"][0]["sections"][0]["consumers"],
        json!([{"consumer": "moved", "used": "11.001"}, {"consumer": "steady", "used": "5"}])
    );
    assert_eq!(json["invoices"][1]["sections"][0]["used"], "100");
    assert_eq!(json["unmapped"], json!([{"consumer": "moved", "tier": "pro", "used": "0.11"}]));
    let asked = scene.store.asked();
    assert_eq!(asked.iter().filter(|path| path.contains("by=day")).count(), 1, "{asked:?}");

    // What is on no day is never dropped, and days that have more than the month are told of.
    scene.store.change(|says| says.usage[1].2 = "112".into());
    let ran = scene.run(&[]);
    assert_eq!(ran.json()["unmapped"][0]["used"], "0.999");
    assert!(ran.err.contains("consumer moved: 0.889 units of the month are on no day"), "{}", ran.err);
    scene.store.change(|says| says.usage[1].2 = "100".into());
    let ran = scene.run(&[]);
    assert!(ran.err.contains("its days have 111.111 units and its month 100; the days count"), "{}", ran.err);
    assert_eq!(scene.run(&["--strict"]).code, Some(4));
}

#[test]
fn use_that_nobody_pays_for_is_told_and_with_strict_an_error() {
    let says = december().with("cus_1", "acme", "pro", "1").without_customer("new", "pro", "5.5");
    let scene = Scene::new(says.without_customer("\u{1b}[31m", "gold", "1"));
    let ran = scene.run(&[]);
    assert_eq!(ran.json()["unmapped"].as_array().unwrap().len(), 2);
    assert_eq!(
        ran.err,
        "tollgate invoice: warning: 6.5 units are on no invoice, as nobody pays for 2 consumers: \\u{1b}[31m, new\n"
    );
    let strict = scene.run(&["--strict"]);
    assert_eq!((strict.code, strict.out), (Some(4), ran.out));
    scene.store.change(|says| says.usage.truncate(1));
    assert_eq!(scene.run(&["--strict"]).code, Some(0));
}

#[test]
fn drafts_become_final_an_hour_after_the_month_by_the_stores_clock() {
    let scene = Scene::new(december().with("cus_1", "acme", "pro", "1"));
    for (date, status, number) in [
        ("Mon, 30 Nov 2026 23:59:59 GMT", "draft", Value::Null),
        ("Tue, 01 Dec 2026 00:59:59 GMT", "draft", Value::Null),
        ("Tue, 01 Dec 2026 01:00:00 GMT", "final", "fp-2026-11-0001".into()),
    ] {
        scene.store.change(|says| says.date = date);
        let json = scene.run(&[]).json();
        assert_eq!((&json["status"], &json["invoices"][0]["number"]), (&status.into(), &number), "{date}");
    }
    for (month, said) in [
        ("2027-01", "2027-01 has not begun by the store's clock, which is in 2026-12"),
        ("2025-09", "2025-09 is too long ago: the store keeps 15 months, and it is 2026-12"),
    ] {
        let ran = scene.run_at(&scene.store.url, month, &[]);
        assert_eq!((ran.code, ran.err), (Some(1), format!("tollgate invoice: {said}\n")));
    }
    assert_eq!(scene.run_at(&scene.store.url, "2025-10", &[]).code, Some(0));
    scene.store.change(|says| says.date = "");
    let ran = scene.run(&[]);
    assert!(ran.code == Some(1) && ran.err.contains("the answer has no Date"), "{}", ran.err);
}

#[test]
fn an_empty_month_and_idle_credits_are_told() {
    let ran = Scene::new(december()).run(&[]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.err,
        "tollgate invoice: warning: there are credits, but no use, of 1 customer: cus_1\n\
         tollgate invoice: warning: nothing was used in 2026-11 of namespace fp\n"
    );
}

#[test]
fn wrong_prices_end_it_as_they_end_check() {
    let scene = Scene::new(december());
    std::fs::write(scene.path("prices.yaml"), PRICES.replace("month: 49.00", "month: -49.00")).unwrap();
    let ran = scene.run(&[]);
    let said = "prices.yaml:5:12: tiers.pro.month: -49.00 is not a price of a month; it is negative; \
                write 0 or more, like 49.00\n";
    assert_eq!((ran.code, ran.err), (Some(1), format!("tollgate invoice: {said}")));
    assert!(scene.store.asked().is_empty(), "the prices are read first");

    let check = |file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        Ran::of(
            command
                .arg("check")
                .arg(file.file_name().unwrap())
                .env_clear()
                .current_dir(file.parent().unwrap())
                .output()
                .unwrap(),
        )
    };
    let checked = check(&scene.path("prices.yaml"));
    assert_eq!((checked.code, checked.err.as_str()), (Some(1), said));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/prices.yaml");
    let checked = check(&example);
    assert_eq!(
        (checked.code, checked.out.as_str()),
        (Some(0), "prices.yaml:1: ok: prices in EUR, 3 tiers\n"),
        "{}",
        checked.err
    );

    std::fs::remove_file(scene.path("prices.yaml")).unwrap();
    let ran = scene.run(&[]);
    assert!(
        ran.code == Some(2) && ran.err.starts_with("tollgate invoice: prices.yaml: cannot be read: "),
        "{}",
        ran.err
    );
}

#[test]
fn a_tier_without_a_price_ends_it_with_what_to_add() {
    let scene = Scene::new(december().with("cus_1", "acme", "gold", "1"));
    let ran = scene.run(&["--output=out.json"]);
    let said = "tollgate invoice: tier gold (consumer acme) has no price; add tiers.gold to the prices\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), said));
    assert!(!scene.path("out.json").exists());
}

#[test]
fn flags_that_do_not_fit_are_refused_with_what_to_write() {
    let scene = Scene::new(december());
    for (flags, said) in [
        (&["--format=html"][..], "write --output DIR, or --customer CUSTOMER for one page"),
        (&["--seal"], "--output"),
        (&["--seal", "--output=x", "--customer=c"], "cannot be used with"),
        (&["--namespace=../x"], "letters, digits"),
        (&["--store=ftp://x"], "write http://HOST:PORT or https://HOST:PORT"),
        (&["--admin-token=short"], "16 characters"),
        (&["--admin-token-file=none"], "none: cannot be read"),
        (&["--ca=none", "--store=https://127.0.0.1:1"], "--ca none"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["invoice", "--prices=prices.yaml", "--month=2026-11"]).args(flags).env_clear();
        let ran = Ran::of(command.current_dir(scene.folder.path()).output().unwrap());
        assert!(
            ran.code != Some(0) && ran.err.contains(said) && !ran.err.contains("short"),
            "{flags:?}: {}",
            ran.err
        );
    }
    let ran = scene.run_at("http://user:secret@127.0.0.1:1", "2026-11", &[]);
    assert!(ran.code == Some(1) && !ran.err.contains("secret"), "{}", ran.err);
}
