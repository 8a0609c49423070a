//! WebAssembly features that compilers of some languages need: exceptions (C++), garbage collection and function references (Kotlin, Dart,
//! Java), several linear memories (composed components). The attacks that use them are in `testing::hostile::code`.

use comptoir::clock::Clock;
use comptoir::host::Host;
use comptoir::manifest::Manifest;
use futures::future::join_all;
use tempfile::TempDir;
use testing::{Shop, manifest_of, options};

/// The part of a service's interface that a handler needs to answer with a status.
const TYPES: &str = include_str!("wasm_features/types.wat");

/// A component whose handler answers with the status that `status` of this core module returns. The module may use a linear memory
/// named `$host`.
fn answering(module: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component {TYPES}
            (core module $guest (import "host" "memory" (memory $host 1)) {module})
            (core instance $guest (instantiate $guest (with "host" (instance $memory))))
            (core instance $main (instantiate $handler (with "http" (instance $http)) (with "guest" (instance $guest))))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $main "handle")))
            (instance $service (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.12" (instance $service)))"#
    ))
    .unwrap()
}

/// A manifest with these components as services, mounted at their names.
fn manifest(folder: &TempDir, limits: &str, components: &[(&str, Vec<u8>)]) -> Manifest {
    let service = |(name, bytes): &(&str, Vec<u8>)| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        format!(
            "[services.{name}]\ncomponent = {file:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\nlimits = {{ {limits} }}\n"
        )
    };
    manifest_of(&components.iter().map(service).collect::<String>())
}

/// The statuses of this many requests at once.
async fn statuses(shop: &Shop, path: &str, count: usize) -> Vec<u16> {
    let anon = shop.anon();
    join_all((0..count).map(|_| anon.get(path))).await.iter().map(|answer| answer.status.as_u16()).collect()
}

/// Throws 200 from the tenth call down, catches it at the top with its payload, and adds 42 in a handler for any exception.
const EXCEPTIONS: &str = "(tag $thrown (param i32))
    (func $deep (param i32)
        (if (i32.eqz (local.get 0)) (then (throw $thrown (i32.const 200))))
        (call $deep (i32.sub (local.get 0) (i32.const 1))))
    (func $caught (result i32)
        (block $payload (result i32)
            (try_table (catch $thrown $payload) (call $deep (i32.const 10)))
            unreachable))
    (func $again (result i32)
        (block $any (result exnref)
            (try_table (catch_all_ref $any) (drop (call $caught)) (throw $thrown (i32.const 42)))
            unreachable)
        (block $payload (param exnref) (result i32)
            (try_table (param exnref) (catch $thrown $payload) throw_ref)
            unreachable))
    (func (export \"status\") (result i32) (i32.add (call $caught) (call $again)))";

/// Makes garbage of three times the memory limit beside a list of 242 objects, and returns the length of the list.
const OBJECTS: &str = "(type $bytes (array (mut i8)))
    (type $list (sub (struct (field $next (ref null $list)))))
    (func (export \"status\") (result i32) (local $list (ref null $list)) (local $count i32)
        (loop $more
            (local.set $list (struct.new $list (local.get $list)))
            (drop (array.new_default $bytes (i32.const 800000)))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $count) (i32.const 242))))
        (local.set $count (i32.const 0))
        (loop $next
            (local.set $list (struct.get $list $next (local.get $list)))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $next (i32.eqz (ref.is_null (local.get $list)))))
        (local.get $count))";

/// Calls a function by a typed reference to it.
const FUNCTION_REFERENCES: &str = "(type $function (func (result i32))) (elem declare func $f)
    (func $f (result i32) (i32.const 242))
    (func (export \"status\") (result i32) (call_ref $function (ref.func $f)))";

/// Copies a number between the three memories of one module.
const MEMORIES: &str = "(memory $a 1) (memory $b 1)
    (func (export \"status\") (result i32)
        (i32.store $a (i32.const 8) (i32.const 242))
        (memory.copy $b $a (i32.const 64) (i32.const 8) (i32.const 4))
        (memory.copy $host $b (i32.const 512) (i32.const 64) (i32.const 4))
        (i32.load $host (i32.const 512)))";

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_objects_function_references_and_memories_work() {
    let folder = tempfile::tempdir().unwrap();
    let features = [
        ("exceptions", EXCEPTIONS, 242),
        ("objects", OBJECTS, 242),
        ("functions", FUNCTION_REFERENCES, 242),
        ("memories", MEMORIES, 242),
    ];
    let components = features.map(|(name, module, _)| (name, answering(module)));
    let mut manifest = manifest(&folder, "cpu = \"2m\", time = \"5m\", queue_time = \"5m\"", &components);
    // Fewer instances than requests, so that each runs where others ran before.
    manifest.instances = 16;
    let shop = Shop::with(manifest).await;
    for (name, _, status) in features {
        assert_eq!(statuses(&shop, &format!("/{name}"), 40).await, [status; 40], "{name}");
    }
}

/// Keeps a list of this many KiB, beside linear memory of this many.
fn keeping(list: u32, memory: u32) -> Vec<u8> {
    answering(&format!(
        "(type $kib (array (mut i64))) (type $list (sub (struct (field (ref null $list)) (field (ref $kib)))))
         (func (export \"status\") (result i32) (local $list (ref null $list)) (local $left i32)
            (if (i32.eq (memory.grow $host (i32.const {})) (i32.const -1)) (then unreachable))
            (local.set $left (i32.const {list}))
            (loop $more
                (local.set $list (struct.new $list (local.get $list) (array.new_default $kib (i32.const 128))))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $more (local.get $left)))
            (i32.const 200))",
        memory / 64
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_linear_memory_share_the_memory_limit() {
    let folder = tempfile::tempdir().unwrap();
    // Twice the room of its objects, because the collector copies them.
    let components =
        [("little", keeping(512, 4096)), ("objects", keeping(8 * 1024, 64)), ("both", keeping(2 * 1024, 6 * 1024))];
    let limits = "memory = \"8 MiB\", cpu = \"2m\", time = \"5m\"";
    let shop = Shop::with(manifest(&folder, limits, &components)).await;
    assert_eq!(shop.anon().get("/little").await.status, 200);
    shop.anon().get("/objects").await.refuses(500, "OUT_OF_MEMORY");
    shop.anon().get("/both").await.refuses(500, "OUT_OF_MEMORY");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_objects_takes_room_that_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let components = [("objects", answering(OBJECTS)), ("sibling", answering(FUNCTION_REFERENCES))];
    let mut manifest = manifest(&folder, "cpu = \"2m\", time = \"5m\", queue_time = \"5m\"", &components);
    manifest.instances = 1;
    let data = tempfile::tempdir().unwrap();
    let refused = Host::start(manifest.clone(), data.path(), options(&Clock::default())).await.err().unwrap();
    let text = format!("{refused:#}");
    assert!(
        text.contains(
            "takes 2 of the host's instances, for its linear memories, tables and objects, but can take at most 1"
        ),
        "{text}"
    );
    manifest.instances = 6;
    let shop = Shop::with(manifest).await;
    let (objects, siblings) = tokio::join!(statuses(&shop, "/objects", 12), statuses(&shop, "/sibling", 12));
    assert_eq!((objects, siblings), (vec![242; 12], vec![242; 12]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_leaves_too_few_instances_to_a_component_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let components = [("objects", answering(OBJECTS)), ("sibling", answering(FUNCTION_REFERENCES))];
    let mut both = manifest(&folder, "cpu = \"2m\", time = \"5m\", queue_time = \"5m\"", &components);
    both.instances = 2;
    let mut shop = Shop::with(both.clone()).await;
    // With one service, half of the instances is reserved for it, and the rest is shared.
    both.services.remove("sibling");
    let refused = shop.reload(both).await;
    refused.refuses(422, "DEPLOY_REFUSED");
    let text = refused.body["error"]["message"].as_str().unwrap();
    assert!(text.contains("takes 2 of the host's instances, but the new manifest leaves at most 1"), "{text}");
    assert_eq!((statuses(&shop, "/objects", 1).await, statuses(&shop, "/sibling", 1).await), (vec![242], vec![242]));
}

/// The host counts objects by what a module declares. Code that could use them without is not valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_declares_no_objects_cannot_use_any() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = "(func (export \"status\") (result i32) (array.len (ref.null array)))";
    let manifest = manifest(&folder, "", &[("hidden", answering(hidden))]);
    let data = tempfile::tempdir().unwrap();
    let refused = Host::start(manifest, data.path(), options(&Clock::default())).await.err().unwrap();
    let text = format!("{refused:#}");
    assert!(text.contains("could not be compiled") && text.contains("gc"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_trap_names_the_functions_of_a_component_that_has_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let named = "(func $place_order (result i32) unreachable)
        (func (export \"status\") (result i32) (call $place_order))";
    let shop = Shop::with(manifest(&folder, "", &[("named", answering(named))])).await;
    shop.anon().get("/named").await.refuses(500, "INTERNAL_ERROR");
    let failed = shop.operator().get("/requests?status=5xx").await;
    let cause = failed.succeeds(200)[0]["cause"].as_str().unwrap();
    assert!(cause.contains("place_order"), "{cause}");
}
