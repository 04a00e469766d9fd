//! What `docs/security.md` says and what is tested are the same.

#[test]
fn each_test_of_the_tables_is_named_in_them_and_each_that_they_name_is_one() {
    let sources = [include_str!("permissions.rs"), include_str!("namespaces.rs"), include_str!("surroundings.rs")];
    let names = |source: &'static str| {
        let tests = source.split("#[test]\nfn ").skip(1);
        tests.map(|rest| rest.split_once('(').unwrap().0).collect::<Vec<_>>()
    };
    let page = include_str!("../../../docs/security.md");
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 4).collect();
    let tests = sources.map(names);
    let elsewhere = [
        include_str!("../../../core/shm/src/segment_tests.rs"),
        include_str!("last_values.rs"),
        include_str!("request_reply.rs"),
        include_str!("../../../core/bus/tests/request.rs"),
    ];
    let all = [tests.concat(), elsewhere.map(names).concat()].concat();
    for name in &named {
        assert!(all.contains(name), "docs/security.md names {name}, which is no test");
    }
    for name in tests[..2].concat() {
        assert!(named.contains(&name), "docs/security.md doesn't name {name}");
    }
}
