//! The cost of tokens: expensive ones are rejected before they are evaluated; verifying a cached
//! token is cheap.

use std::time::{Duration, Instant};

use authz::{AuthError, Operation, Restriction, Role, Verifier, narrow};

use super::{END, NOW, VIDEO, append, grant, playback, request, setup};

#[test]
fn oversized_tokens_are_rejected_quickly() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Viewer), END).unwrap();
    let started = Instant::now();
    for n in 0..1000 {
        let huge = format!("{token}{n}{}", "A".repeat(1 << 20));
        assert_eq!(verifier.authenticate(&huge, &request(Operation::Read)), Err(AuthError::Limit));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let mut deep = token;
    for _ in 1..16 {
        deep = narrow(&deep, &Restriction::default()).unwrap();
    }
    assert!(verifier.authenticate(&deep, &request(Operation::Read)).is_ok());
    assert_eq!(narrow(&deep, &Restriction::default()), Err(AuthError::Limit));
    let deeper = append(&deep, "check if true;");
    assert_eq!(verifier.authenticate(&deeper, &request(Operation::Read)), Err(AuthError::Limit));
}

/// Datalog that a malicious holder appends to waste processor time.
fn costly_blocks() -> Vec<(&'static str, String)> {
    let facts: String = (0..40).map(|n| format!("n({n});")).collect();
    let join = |width: usize| {
        let body: Vec<String> = (0..width).map(|n| format!("n($v{n})")).collect();
        format!("{facts} check if {}, $v0 > 100;", body.join(", "))
    };
    let deep = format!("check if {}1 == 1{};", "(".repeat(200), ")".repeat(200));
    // The decoder rejects deeper nesting than 30: prost nests messages at most a hundred levels
    // deep.
    let lazy = format!("check if {}true{};", "true || (".repeat(30), ")".repeat(30));
    vec![
        ("a join of seven lists", join(7)),
        ("a join of nine lists", join(9)),
        (
            "rules that feed themselves",
            format!("{facts} n($a) <- n($b), n($c), n($a); check if n(7);"),
        ),
        ("rules that make pairs", format!("{facts} m($a, $b) <- n($a), n($b); check if m(1, 2);")),
        ("many facts", (0..400).map(|n| format!("n({n});")).collect()),
        ("many rules", (0..40).map(|n| format!("r{n}($x) <- time($x);")).collect()),
        ("a long expression", format!("check if {} > 0;", vec!["1"; 700].join(" + "))),
        ("nested parentheses", deep.repeat(3)),
        ("closures in closures", lazy.repeat(9)),
        ("a regular expression", r#"check if "aaaaaaaa".matches("(a{500}){500}");"#.to_owned()),
        (
            "functions over sets",
            "check if {1,2,3,4}.all($a -> {1,2,3,4}.all($b -> $a + $b > 0));".to_owned(),
        ),
    ]
}

/// [`append`] for deeply nested code: the parser, which only holders run, is recursive and needs a
/// large stack.
fn append_deep(token: &str, code: &str) -> String {
    let (token, code) = (token.to_owned(), code.to_owned());
    let parser = std::thread::Builder::new().stack_size(64 << 20);
    parser.spawn(move || append(&token, &code)).unwrap().join().unwrap()
}

/// Verifies an expensive token on a stack half the size of the server's: deep nesting must not
/// overflow it and crash the process.
fn error_of(verifier: &Verifier, costly_token: &str) -> AuthError {
    std::thread::scope(|scope| {
        let server = std::thread::Builder::new().stack_size(1 << 20);
        let check = || verifier.authenticate(costly_token, &request(Operation::Read)).unwrap_err();
        server.spawn_scoped(scope, check).unwrap().join().unwrap()
    })
}

#[test]
fn costly_tokens_are_rejected_before_evaluation() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Viewer), END).unwrap();
    for (what, code) in costly_blocks() {
        let costly_token = append_deep(&token, &code);
        let started = Instant::now();
        let result = error_of(&verifier, &costly_token);
        println!("{what}: {} bytes rejected in {:?}", costly_token.len(), started.elapsed());
        assert_eq!(result, AuthError::Limit, "{what}");
        // A generous limit: an evaluation would take years.
        assert!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", started.elapsed());
    }
    let useful = r#"check if operation("read") || operation("play"); check if time($t), $t < 2100-01-01T00:00:00Z && $t > 2000-01-01T00:00:00Z;"#
        .replace(r#"operation("read") || operation("play")"#, r#"operation($o), $o == "read" || $o == "play""#);
    let narrowed = append(&token, &useful);
    assert!(verifier.authenticate(&narrowed, &request(Operation::Read)).is_ok());
}

#[test]
fn verifying_a_cached_token_is_fast() {
    let (keys, verifier) = setup();
    let bearer = keys.mint(&grant(Role::Viewer), END).unwrap();
    let restriction = Restriction { video: Some(VIDEO), ..Restriction::default() };
    let narrowed = narrow(&bearer, &restriction).unwrap();
    let playback = playback(&keys, Some(720), None);
    let rounds = 2_000;
    let read = request(Operation::Read);
    for (what, token) in [("bearer", &bearer), ("narrowed", &narrowed), ("playback", &playback)] {
        let check = || match what {
            "playback" => verifier.playback(token, VIDEO, NOW, None).map(drop),
            _ => verifier.authenticate(token, &read).map(drop),
        };
        check().unwrap();
        let started = Instant::now();
        for _ in 0..rounds {
            check().unwrap();
        }
        // The figures are informative only: timings on a shared machine are too unreliable to
        // assert.
        println!("{what}: {:?} per warm check", started.elapsed() / rounds);
    }
}
