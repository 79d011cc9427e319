//! Specs that include files: of their own repository, of a pinned revision of another beside it.

use crate::lab::Lab;

#[tokio::test]
async fn parts_come_from_the_repository_and_from_others_beside_it() {
    let lab = Lab::new();
    // The shared repository's spec file is a part only.
    lab.hooked("shared", "steps: [echo unused]\n");
    let shared = lab.path("shared");
    let part = "templates:\n  tell: {env: {WHO: shared}, steps: ['echo \"told by $WHO\"']}\n";
    std::fs::write(shared.join("tell.yml"), part).unwrap();
    let revision = lab.commit("shared", "steps: [echo unused]\n", "a part");
    lab.push("shared", &["HEAD:main"]);
    let url = lab.path("shared.git");
    let spec = format!(
        "include:\n  - ci/own.yml\n  - {{repo: '{}', revision: '{revision}', file: tell.yml}}\njobs:\n  a: {{use: \
         own}}\n  b: {{use: tell, needs: a}}\n",
        url.display()
    );
    lab.hooked("r", &spec);
    let own = lab.path("r").join("ci");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(
        own.join("own.yml"),
        "templates:\n  own: {steps: [echo own]}\n",
    )
    .unwrap();
    lab.commit("r", &spec, "parts");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let attempt = build["jobs"][1]["attempt"].as_i64().unwrap();
    let log = format!("/repos/r/builds/1/steps/1/log?attempt={attempt}");
    assert_eq!(lab.text(&server, &log).await, "told by shared\n");
    let dir = lab.path("r");
    let said = lab.ok(&["plan", "--dir", dir.to_str().unwrap()]);
    assert!(said.contains('b'), "{said}");

    // Elsewhere on this machine a stranger's spec reaches nothing.
    let evil = format!(
        "include: {{repo: '/etc/../{}', revision: '{revision}', file: tell.yml}}\njobs:\n  b: {{use: tell}}\n",
        url.display()
    );
    lab.commit("r", &evil, "evil");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 2).await;
    assert_eq!(build["state"], "error");
    assert!(
        build["summary"].as_str().unwrap().contains("same host"),
        "{build:#}"
    );
}
