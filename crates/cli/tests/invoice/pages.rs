//! Tables and pages.

use crate::*;

const HOSTILE: &str = "=HYPERLINK(\"//x\")</bdi><script>alert(1)</script>";

#[test]
fn a_table_has_a_row_per_line() {
    let scene = Scene::new(
        december().with(HOSTILE, "acme", "pro", "1000000.5").without_customer("@new", "free", "2"),
    );
    assert_eq!(scene.run(&["--format=csv", "--output=out.csv"]).code, Some(0));
    let text = scene.read("out.csv");
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(
        rows[0],
        "namespace,month,status,number,customer,tier,kind,text,quantity,unit_price,amount,currency"
    );
    assert!(
        rows[1].starts_with("fp,2026-11,final,fp-2026-11-0001,\"'=HYPERLINK(\"\"//x\"\")</bdi>"),
        "{text}"
    );
    assert!(
        rows[3].ends_with(",overage,\"Units beyond the included ones, up to 1000000\",0.5,0.0004,0.00,EUR"),
        "{text}"
    );
    assert_eq!(rows[4], "fp,2026-11,final,,,free,unmapped,'@new,2,,,EUR");
    // Without a file the same goes to standard output, and into a directory under the month's name.
    assert_eq!(scene.run(&["--format=csv"]).out, text);
    assert_eq!(scene.run(&["--format=csv", "--output=tables/"]).code, Some(0));
    assert_eq!(scene.read("tables/invoices-2026-11.csv"), text);
}

#[test]
fn each_customer_has_a_page_and_there_is_a_list_of_them() {
    let says = december()
        .with(HOSTILE, HOSTILE, "pro", "1")
        .with("cus_1", "acme", "pro", "1500000")
        .without_customer("new", "free", "2");
    let scene = Scene::new(says);
    scene.store.change(|says| says.date = "Mon, 30 Nov 2026 10:00:00 GMT");
    let html = ["--format=html", "--output=pages"];
    assert_eq!(scene.run(&html).code, Some(0));
    let drafts = ["draft-fp-2026-11-0001.html", "draft-fp-2026-11-0002.html", "invoices-2026-11.html"];
    assert_eq!(scene.names("pages"), drafts);
    assert!(drafts.iter().all(|name| scene.read(&format!("pages/{name}")).contains("class=\"draft\"")));

    // The drafts go when the month is over, and nothing else does.
    std::fs::write(scene.path("pages/draft-fp-2026-11-notes.html"), "mine").unwrap();
    std::fs::write(scene.path("pages/draft-fp-2026-10-0001.html"), "another month's").unwrap();
    scene.store.change(|says| says.date = "Wed, 02 Dec 2026 10:00:00 GMT");
    assert_eq!(scene.run(&html).code, Some(0));
    assert_eq!(
        scene.names("pages"),
        [
            "draft-fp-2026-10-0001.html",
            "draft-fp-2026-11-notes.html",
            "fp-2026-11-0001.html",
            "fp-2026-11-0002.html",
            "invoices-2026-11.html"
        ]
    );
    let (page, list) = (scene.read("pages/fp-2026-11-0001.html"), scene.read("pages/invoices-2026-11.html"));
    for text in [&page, &list] {
        assert!(!text.contains("<script") && text.contains("&#60;script&#62;"), "{text}");
    }
    assert!(
        list.contains("fp-2026-11-0002.html") && list.contains("288.00") && list.contains(">new<"),
        "{list}"
    );
    let other = scene.read("pages/fp-2026-11-0002.html");
    assert!(
        other.contains("cus_1") && other.contains("launch offer") && other.contains(">239.00<"),
        "{other}"
    );

    // One customer's page alone.
    assert_eq!(scene.run(&["--format=html", "--customer=cus_1"]).out, other);
    assert_eq!(scene.run(&["--format=html", "--customer=cus_1", "--output=one.html"]).code, Some(0));
    assert_eq!(scene.read("one.html"), other);
    assert_eq!(scene.run(&["--format=html", "--customer=cus_1", "--output=one/"]).code, Some(0));
    assert_eq!(scene.names("one"), ["fp-2026-11-0002.html"]);
}
