//! Attacks written in WebAssembly text, because no compiler would emit them. Each is a component of its own.

/// Name of the attack, status of the answer, a part of the answer's text, and the code.
///
/// The code is the fields of a core module that exports `handle`, which is called with two handles. `HANDLES` and `MEMORIES`
/// stand for components that need more than one module.
pub const ATTACKS: &[(&str, u16, &str, &str)] = &[
    ("w-unreachable", 500, "INTERNAL_ERROR", "(func (export \"handle\") (param i32 i32) unreachable)"),
    ("w-silent", 500, "INTERNAL_ERROR", "(func (export \"handle\") (param i32 i32))"),
    ("w-loop", 504, "DEADLINE_EXCEEDED", "(func (export \"handle\") (param i32 i32) (loop (br 0)))"),
    (
        "w-loop-at-start",
        504,
        "DEADLINE_EXCEEDED",
        "(func $start (loop (br 0))) (start $start) (func (export \"handle\") (param i32 i32))",
    ),
    (
        "w-trap-at-start",
        500,
        "INTERNAL_ERROR",
        "(func $start unreachable) (start $start) (func (export \"handle\") (param i32 i32))",
    ),
    (
        "w-recursion",
        500,
        "INTERNAL_ERROR",
        "(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
         (func (export \"handle\") (param i32 i32) (drop (call $deep)))",
    ),
    (
        "w-indirect-recursion",
        500,
        "INTERNAL_ERROR",
        "(type $f (func)) (table 1 funcref) (elem (i32.const 0) $deep)
         (func $deep (call_indirect (type $f) (i32.const 0)) (call_indirect (type $f) (i32.const 0)))
         (func (export \"handle\") (param i32 i32) (call $deep))",
    ),
    (
        "w-wrong-signature",
        500,
        "INTERNAL_ERROR",
        "(type $f (func (result i64))) (table 1 funcref) (elem (i32.const 0) $other) (func $other)
         (func (export \"handle\") (param i32 i32) (drop (call_indirect (type $f) (i32.const 0))))",
    ),
    (
        "w-out-of-bounds",
        500,
        "INTERNAL_ERROR",
        "(memory 1) (func (export \"handle\") (param i32 i32) (drop (i32.load offset=4294967295 (i32.const -1))))",
    ),
    (
        "w-division",
        500,
        "INTERNAL_ERROR",
        "(func (export \"handle\") (param i32 i32) (drop (i32.div_s (i32.const -2147483648) (i32.const -1))))",
    ),
    (
        "w-memory-growth",
        500,
        "OUT_OF_MEMORY",
        "(memory 1) (func (export \"handle\") (param i32 i32)
           (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)",
    ),
    (
        "w-memory-fill",
        504,
        "DEADLINE_EXCEEDED",
        "(memory 1000) (func (export \"handle\") (param i32 i32)
           (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536000)) (br 0)))",
    ),
    (
        "w-table-growth",
        500,
        "INTERNAL_ERROR",
        "(table $t 0 funcref) (func (export \"handle\") (param i32 i32)
           (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable)",
    ),
    (
        "w-table-fill",
        504,
        "DEADLINE_EXCEEDED",
        "(table $t 10000 funcref) (func (export \"handle\") (param i32 i32)
           (loop (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000)) (br 0)))",
    ),
    (
        "w-objects",
        500,
        "OUT_OF_MEMORY",
        "(type $list (sub (struct (field (ref null $list))))) (global $list (mut (ref null $list)) (ref.null $list))
         (func (export \"handle\") (param i32 i32)
           (loop (global.set $list (struct.new $list (global.get $list))) (br 0)))",
    ),
    (
        "w-large-object",
        500,
        "INTERNAL_ERROR",
        "(type $bytes (array (mut i8)))
         (func (export \"handle\") (param i32 i32) (drop (array.new_default $bytes (i32.const -1))))",
    ),
    (
        "w-garbage",
        504,
        "DEADLINE_EXCEEDED",
        "(type $bytes (array (mut i8)))
         (func (export \"handle\") (param i32 i32)
           (loop (drop (array.new_default $bytes (i32.const 1000000))) (br 0)))",
    ),
    (
        // Little room beside a list of 400,000 objects, so that the collector copies the list again and again.
        "w-collections",
        504,
        "DEADLINE_EXCEEDED",
        "(type $list (sub (struct (field (ref null $list))))) (type $bytes (array (mut i8)))
         (global $list (mut (ref null $list)) (ref.null $list))
         (func (export \"handle\") (param i32 i32) (local i32)
           (loop
             (global.set $list (struct.new $list (global.get $list)))
             (local.set 2 (i32.add (local.get 2) (i32.const 1)))
             (br_if 0 (i32.lt_u (local.get 2) (i32.const 400000))))
           (loop (drop (array.new_default $bytes (i32.const 10000000))) (br 0)))",
    ),
    ("w-exception", 500, "INTERNAL_ERROR", "(tag $e) (func (export \"handle\") (param i32 i32) (throw $e))"),
    (
        "w-exception-at-start",
        500,
        "INTERNAL_ERROR",
        "(tag $e) (func $start (throw $e)) (start $start) (func (export \"handle\") (param i32 i32))",
    ),
    (
        "w-exceptions",
        504,
        "DEADLINE_EXCEEDED",
        "(tag $e) (func $throw (throw $e))
         (func (export \"handle\") (param i32 i32)
           (loop $again (block $caught (try_table (catch $e $caught) (call $throw))) (br $again)))",
    ),
    (
        // Each exception passes a thousand functions, each of which has a handler for another one.
        "w-deep-exceptions",
        504,
        "DEADLINE_EXCEEDED",
        "(tag $e) (tag $other)
         (func $deep (param i32)
           (if (i32.eqz (local.get 0)) (then (throw $e)))
           (block $caught
             (try_table (catch $other $caught) (call $deep (i32.sub (local.get 0) (i32.const 1))))))
         (func (export \"handle\") (param i32 i32)
           (loop $again
             (block $caught (try_table (catch $e $caught) (call $deep (i32.const 1000))))
             (br $again)))",
    ),
    (
        "w-exception-hoard",
        500,
        "OUT_OF_MEMORY",
        "(tag $e (param (ref null $list))) (type $list (struct (field (ref null exn)) (field (ref null $list))))
         (global $list (mut (ref null $list)) (ref.null $list))
         (func $throw (throw $e (global.get $list)))
         (func (export \"handle\") (param i32 i32)
           (loop $again
             (block $caught (result exnref) (try_table (catch_all_ref $caught) (call $throw)) unreachable)
             (global.get $list)
             (global.set $list (struct.new $list))
             (br $again)))",
    ),
    ("w-foreign-handle", 500, "INTERNAL_ERROR", "HANDLES"),
    ("w-many-memories", 500, "OUT_OF_MEMORY", "MEMORIES"),
];

/// The components of all attacks, by name.
pub fn components() -> Vec<(&'static str, Vec<u8>)> {
    ATTACKS.iter().map(|(name, _, _, code)| (*name, wat::parse_str(text(code)).unwrap())).collect()
}

fn text(code: &str) -> String {
    match code {
        "HANDLES" => component(
            "",
            "(core instance $attack (instantiate $code (with \"host\" (instance (export \"drop\" (func $drop))))))",
            FOREIGN_HANDLE,
        ),
        "MEMORIES" => memories(),
        code => component("", "(core instance $attack (instantiate $code))", code),
    }
}

/// Drops a handle that it never received.
const FOREIGN_HANDLE: &str = "(import \"host\" \"drop\" (func $drop (param i32)))
    (func (export \"handle\") (param i32 i32) (call $drop (i32.const 77)))";

/// Four instances, each of which grows its linear memory to the limit.
fn memories() -> String {
    let grower = "(core module $grower (memory 1) (func (export \"grow\") (result i32) (memory.grow (i32.const 400))))";
    let (mut instances, mut imports, mut calls) = (String::new(), String::new(), String::new());
    for number in 0..4 {
        instances += &format!("(core instance $g{number} (instantiate $grower))");
        imports += &format!("(export \"grow{number}\" (func $g{number} \"grow\"))");
        calls += &format!("(if (i32.eq (call $grow{number}) (i32.const -1)) (then unreachable))");
    }
    let declared: String = (0..4)
        .map(|number| format!("(import \"growers\" \"grow{number}\" (func $grow{number} (result i32)))"))
        .collect();
    let code = format!("{declared} (func (export \"handle\") (param i32 i32) {calls})");
    let attack =
        format!("{instances} (core instance $attack (instantiate $code (with \"growers\" (instance {imports}))))");
    component(grower, &attack, &code)
}

/// Loops forever and has five linear memories.
pub fn spinning_with_memories() -> Vec<u8> {
    let instances: String = (0..4).map(|number| format!("(core instance $m{number} (instantiate $memory))")).collect();
    let code = "(memory 1) (func (export \"handle\") (param i32 i32) (loop (br 0)))";
    let attack = format!("{instances} (core instance $attack (instantiate $code))");
    wat::parse_str(component("(core module $memory (memory 1))", &attack, code)).unwrap()
}

/// Scans all linear memory that it may have. If a byte is not zero it loops forever; else it fills the memory and traps.
pub fn leaving(byte: u8) -> Vec<u8> {
    let code = format!(
        "(memory 1) (func (export \"handle\") (param i32 i32) (local $at i32) (local $end i32)
           (drop (memory.grow (i32.const 900))) (local.set $end (i32.mul (memory.size) (i32.const 65536)))
           (loop $next
             (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (loop (br 0))))
             (local.set $at (i32.add (local.get $at) (i32.const 8)))
             (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
           (memory.fill (i32.const 0) (i32.const {byte}) (local.get $end)) unreachable)"
    );
    wat::parse_str(component("", "(core instance $attack (instantiate $code))", &code)).unwrap()
}

/// A component for WASI 0.2 around a core module.
fn component(modules: &str, instances: &str, code: &str) -> String {
    format!(
        r#"(component
            (import "wasi:http/types@0.2.12" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (core func $drop (canon resource.drop $request))
            {modules}
            (core module $code {code})
            {instances}
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $attack "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.12" (instance $handler)))"#
    )
}
