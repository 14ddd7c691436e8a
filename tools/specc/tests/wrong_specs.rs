//! Each kind of wrong spec gets an error that names the file, the key and the reason, and says what to do.

mod common;

use common::Bench;

/// Breaks one file of a right folder and expects exactly one fault, which begins with `file: key: ` and says `reason`.
#[track_caller]
fn expect(file: &str, old: &str, new: &str, key: &str, reason: &str) {
    let bench = Bench::new();
    bench.edit(&format!("specs/{file}"), old, new);
    let error = specc::Set::load(&bench.specs()).expect_err("the spec is wrong");
    assert_eq!(error.faults.len(), 1, "one mistake, one fault:\n{error}");
    let fault = &error.faults[0];
    assert_eq!(fault.file.to_string_lossy(), file, "{error}");
    assert_eq!(fault.key, key, "{error}");
    assert!(
        fault.reason.contains(reason),
        "`{reason}` is not in: {error}"
    );
    assert!(!fault.cure.is_empty());
    let shown = error.to_string();
    assert!(
        shown.starts_with(file) && shown.contains("\n  cure: "),
        "{shown}"
    );
}

#[test]
fn the_bench_is_right() {
    specc::Set::load(&Bench::new().specs()).expect("no fault");
}

#[test]
fn toml_syntax() {
    expect("push.toml", "syscall = 1", "syscall = = 1", "", "line 6");
}

#[test]
fn unknown_key() {
    expect(
        "push.toml",
        "commit =",
        "comit =",
        "comit",
        "unknown field `comit`",
    );
    expect(
        "push.toml",
        "symbol = \"thing_fops\"",
        "symbl = \"thing_fops\"",
        "value[2].symbl",
        "unknown field `symbl`",
    );
}

#[test]
fn missing_key() {
    expect(
        "push.toml",
        "kind = \"path\"",
        "",
        "",
        "missing field `kind`",
    );
    expect(
        "push.toml",
        "doc = \"How many.\"",
        "",
        "value[1]",
        "missing field `doc`",
    );
    expect(
        "push.toml",
        "object = \"thing_fops\"",
        "",
        "object",
        "is missing",
    );
    expect("push.toml", "syscall = 1", "", "syscall", "is missing");
    expect(
        "push.toml",
        "commit = \"The lock is held.\"",
        "",
        "commit",
        "is missing",
    );
    expect(
        "push.toml",
        "[[bail]]\nname = \"full\"\ndoc = \"The thing is full.\"\ncure = \"pop\"\n",
        "",
        "bail",
        "is missing",
    );
}

#[test]
fn wrong_type_and_unknown_word() {
    expect(
        "push.toml",
        "syscall = 1",
        "syscall = \"one\"",
        "syscall",
        "invalid type",
    );
    expect(
        "push.toml",
        "kept = \"guard\"",
        "kept = \"watched\"",
        "value[2].kept",
        "unknown variant `watched`",
    );
    expect(
        "push.toml",
        "from = \"call\"",
        "from = \"user\"",
        "value[1].from",
        "unknown variant `user`",
    );
}

#[test]
fn a_common_spec_with_keys_of_a_path() {
    expect(
        "base.toml",
        "doc = \"What paths share.\"",
        "doc = \"x\"\ncall = \"push\"",
        "call",
        "only a path has it",
    );
}

#[test]
fn name_is_not_the_file() {
    expect(
        "push.toml",
        "name = \"push\"",
        "name = \"pull\"",
        "name",
        "`pull` is not the file's name",
    );
}

#[test]
fn name_is_no_identifier() {
    expect(
        "push.toml",
        "name = \"count\"",
        "name = \"Count\"",
        "value.Count.name",
        "is no field name",
    );
    expect(
        "push.toml",
        "name = \"count\"",
        "name = \"type\"",
        "value.type.name",
        "is no field name",
    );
    expect(
        "arena.toml",
        "name = \"SLOT\"",
        "name = \"slot\"",
        "constant.slot.name",
        "is no constant's name",
    );
    expect(
        "push.toml",
        "name = \"push\"",
        "name = \"layout\"",
        "name",
        "is not the file's name",
    );
}

#[test]
fn class_out_of_range() {
    expect(
        "push.toml",
        "class = 1",
        "class = 5",
        "value.fd.class",
        "there is no class 5",
    );
    expect(
        "push.toml",
        "class = 1",
        "class = 0",
        "value.fd.class",
        "there is no class 0",
    );
}

#[test]
fn class_and_keeping_disagree() {
    expect(
        "push.toml",
        "class = 1",
        "class = 3",
        "value.fd.kept",
        "is missing",
    );
    expect(
        "push.toml",
        "class = 1",
        "class = 1\nkept = \"guard\"",
        "value.fd.kept",
        "classes 1 and 2 are constant",
    );
    expect(
        "push.toml",
        "kept = \"guard\"",
        "kept = \"always\"",
        "value.thing_fops.kept",
        "class 3 may change",
    );
    expect(
        "push.toml",
        "class = 4",
        "class = 4\nkept = \"guard\"",
        "value.count.kept",
        "class 4 is read on",
    );
}

#[test]
fn class_and_source_disagree() {
    expect(
        "push.toml",
        "from = \"call\"",
        "c = \"1\"",
        "value.count.class",
        "nothing is baked in",
    );
    expect(
        "push.toml",
        "from = \"synthesis\"",
        "from = \"call\"",
        "value.fd.from",
        "class 3 (guard) or 4",
    );
    expect(
        "push.toml",
        "from = \"synthesis\"",
        "from = \"event\"",
        "value.fd.from",
        "is a watch",
    );
    expect(
        "base.toml",
        "from = \"event\"",
        "from = \"call\"",
        "value.alone.kept",
        "not watched but guarded",
    );
}

#[test]
fn a_value_has_one_source() {
    expect(
        "push.toml",
        "from = \"synthesis\"",
        "",
        "value.fd.c",
        "exactly one of",
    );
    expect(
        "push.toml",
        "from = \"synthesis\"",
        "from = \"synthesis\"\nc = \"1\"",
        "value.fd.c",
        "exactly one of",
    );
    expect(
        "base.toml",
        "c = \"offsetof(struct thing, flags)\"",
        "c = \" \"",
        "value.flags.c",
        "is empty",
    );
}

#[test]
fn condition_without_expression() {
    let with = "from = \"synthesis\"\nwhen = \"1\"";
    expect(
        "push.toml",
        "from = \"synthesis\"",
        with,
        "value.fd.when",
        "only a C expression",
    );
}

#[test]
fn watch_without_event_or_reason() {
    expect(
        "base.toml",
        "events = [\"task_newtask\"]",
        "",
        "value.alone.events",
        "is missing",
    );
    let bench = Bench::new();
    bench.edit("specs/base.toml", "reason = \"threads\"", "");
    let shown = specc::Set::load(&bench.specs())
        .expect_err("a watch has a reason")
        .to_string();
    assert!(
        shown.contains("base.toml: value.alone.reason: is missing"),
        "{shown}"
    );
}

#[test]
fn guard_with_event() {
    let with = "kept = \"guard\"\nevents = [\"task_newtask\"]";
    expect(
        "push.toml",
        "kept = \"guard\"",
        with,
        "value.thing_fops.events",
        "only a watch has events",
    );
}

#[test]
fn reason_that_is_not_there() {
    expect(
        "base.toml",
        "refuses = [\"unknown_object\"]",
        "refuses = [\"unknown_object\", \"mood\"]",
        "refuses",
        "there is no reason `mood`",
    );
    let with = "symbol = \"thing_fops\"\nreason = \"mood\"";
    expect(
        "push.toml",
        "symbol = \"thing_fops\"",
        with,
        "value.thing_fops.reason",
        "there is no reason `mood`",
    );
}

#[test]
fn reason_that_nobody_gives() {
    let with = "[[reason]]\nname = \"mood\"\nkind = \"process\"\ntext = \"x\"\ncure = \"x\"\n\n[[reason]]\nname = \"threads\"";
    expect(
        "reasons.toml",
        "[[reason]]\nname = \"threads\"",
        with,
        "reason.mood",
        "no spec refuses for it",
    );
}

#[test]
fn reason_without_text() {
    expect(
        "reasons.toml",
        "text = \"the process has threads\"",
        "text = \"\"",
        "reason.threads.text",
        "not one line",
    );
    expect(
        "reasons.toml",
        "cure = \"end them\"",
        "cure = \"a\\nb\"",
        "reason.threads.cure",
        "not one line",
    );
    expect(
        "reasons.toml",
        "text = \"the process has threads\"",
        "text = \"a\\rb\"",
        "reason.threads.text",
        "not one line",
    );
}

#[test]
fn bail_outs_have_one_name_and_two_sentences() {
    for (field, old) in [
        ("doc", "doc = \"The thing is full.\""),
        ("cure", "cure = \"pop\""),
    ] {
        let key = format!("bail.full.{field}");
        for wrong in ["\"\"", "\"a\\nb\""] {
            expect(
                "push.toml",
                old,
                &format!("{field} = {wrong}"),
                &key,
                "not one line",
            );
        }
    }
    expect(
        "push.toml",
        "name = \"full\"",
        "name = \"Full\"",
        "bail.Full.name",
        "is no name",
    );
    let again = "[[bail]]\nname = \"full\"\ndoc = \"x\"\ncure = \"x\"\n\n";
    expect(
        "push.toml",
        "[[bail]]",
        &format!("{again}[[bail]]"),
        "bail.full.name",
        "is there already, in push.toml",
    );
    // Names are those of all specs.
    let bench = Bench::new();
    bench.edit(
        "specs/base.toml",
        "[[value]]\nname = \"flags\"",
        &format!("{again}[[value]]\nname = \"flags\""),
    );
    let shown = specc::Set::load(&bench.specs())
        .expect_err("full is there twice")
        .to_string();
    assert!(
        shown.starts_with("push.toml: bail.full.name: is there already, in base.toml"),
        "{shown}"
    );
}

#[test]
fn same_thing_twice() {
    let bench = Bench::new();
    let push = bench.read("specs/push.toml");
    bench.write(
        "specs/push.toml",
        &format!(
            "{push}\n[[value]]\nname = \"fd\"\nclass = 1\nfrom = \"synthesis\"\ndoc = \"x\"\n"
        ),
    );
    let shown = specc::Set::load(&bench.specs())
        .expect_err("fd is there twice")
        .to_string();
    assert!(
        shown.starts_with("push.toml: value.fd.name: is there twice"),
        "{shown}"
    );

    let bench = Bench::new();
    let reasons = bench.read("specs/reasons.toml");
    bench.write("specs/reasons.toml", &format!("{reasons}\n[[reason]]\nname = \"threads\"\nkind = \"process\"\ntext = \"x\"\ncure = \"x\"\n"));
    let shown = specc::Set::load(&bench.specs())
        .expect_err("threads is there twice")
        .to_string();
    assert!(
        shown.starts_with("reasons.toml: reason.threads.name: is there twice"),
        "{shown}"
    );

    expect(
        "arena.toml",
        "name = \"SITE\"",
        "name = \"SLOT\"",
        "constant.SLOT.name",
        "is there twice",
    );
}

#[test]
fn same_name_with_two_expressions() {
    let bench = Bench::new();
    bench.write(
        "specs/other.toml",
        "name = \"other\"\nkind = \"common\"\ndoc = \"x\"\n[[value]]\nname = \"flags\"\nclass = 2\nc = \"4\"\ndoc = \"x\"\n",
    );
    let error = specc::Set::load(&bench.specs()).expect_err("flags means two things");
    assert_eq!(error.faults.len(), 1, "{error}");
    let shown = error.to_string();
    assert!(
        shown.starts_with("other.toml: value.flags.c: `flags` means something else in base.toml"),
        "{shown}"
    );
}

#[test]
fn value_on_two_ways() {
    let bench = Bench::new();
    let push = bench.read("specs/push.toml");
    let again = "\n[[value]]\nname = \"flags\"\nclass = 2\nc = \"offsetof(struct thing, flags)\"\ndoc = \"x\"\n";
    bench.write("specs/push.toml", &format!("{push}{again}"));
    let shown = specc::Set::load(&bench.specs())
        .expect_err("flags comes from base too")
        .to_string();
    assert!(
        shown.starts_with("push.toml: value.flags.name: is already there from base.toml"),
        "{shown}"
    );
}

#[test]
fn uses() {
    expect(
        "push.toml",
        "uses = [\"base\"]",
        "uses = [\"base\", \"air\"]",
        "uses",
        "there is no spec `air`",
    );
    expect(
        "base.toml",
        "refuses",
        "uses = [\"base\"]\nrefuses",
        "uses",
        "uses this spec too",
    );
    expect(
        "push.toml",
        "uses = [\"base\"]",
        "uses = [\"push\"]",
        "uses",
        "`push` is a path",
    );
}

#[test]
fn two_paths_for_one_call() {
    let bench = Bench::new();
    let text = "name = \"shove\"\nkind = \"path\"\ndoc = \"x\"\ncall = \"push\"\nsyscall = 1\nobject = \"thing_fops\"\n\
                commit = \"x\"\nbail = [{ name = \"x\", doc = \"x\", cure = \"x\" }]\n";
    bench.write("specs/shove.toml", text);
    let shown = specc::Set::load(&bench.specs())
        .expect_err("two paths for push")
        .to_string();
    assert!(
        shown.starts_with("shove.toml: call: `push` already is the path of push on thing_fops"),
        "{shown}"
    );
}

#[test]
fn fingerprints() {
    let bench = Bench::new();
    let print = specc::source::fingerprint(
        common::THING_C,
        specc::schema::MirrorKind::Function,
        "thing_push",
    )
    .expect("it is there");
    drop(bench);
    let key = "mirror.thing_push.reviewed.7.2";
    expect(
        "push.toml",
        &print,
        &print[1..],
        key,
        "has 64 digits, not 63",
    );
    expect(
        "push.toml",
        &print,
        &print.to_uppercase(),
        key,
        "lower-case hexadecimal",
    );
    expect(
        "push.toml",
        &print,
        "absent",
        "mirror.thing_push.reviewed",
        "absent from every series",
    );
    let whole = format!("reviewed = {{ \"7.2\" = \"{print}\" }}");
    expect(
        "push.toml",
        &whole,
        "",
        "mirror.thing_push.reviewed",
        "no fingerprint",
    );
}

#[test]
fn mirrors() {
    expect(
        "push.toml",
        "file = \"fs/thing.c\"",
        "file = \"/fs/thing.c\"",
        "mirror.thing_push.file",
        "not inside",
    );
    expect(
        "push.toml",
        "file = \"fs/thing.c\"",
        "file = \"../thing.c\"",
        "mirror.thing_push.file",
        "not inside",
    );
    expect(
        "push.toml",
        "watched = true",
        "symbol = \"x\"",
        "mirror.thing_push.symbol",
        "nobody watches",
    );
    expect(
        "push.toml",
        "watched = true",
        "watched_when = \"1\"",
        "mirror.thing_push.watched_when",
        "nobody watches",
    );
    let before = |table: &str| format!("{table}\n[[mirror]]");
    expect(
        "push.toml",
        "[[mirror]]",
        &before("[[function]]\nname = \"thing_push\"\ndoc = \"The push.\"\n"),
        "function.thing_push.name",
        "is watched already",
    );
    expect(
        "push.toml",
        "[[mirror]]",
        &before("[[function]]\nname = \"thing_lock\"\ndoc = \"\"\n"),
        "function.thing_lock.doc",
        "is empty",
    );
    let key = "[[key]]\nname = \"debug\"\nstate = \"off\"\ndoc = \"No checks.\"\n";
    expect(
        "push.toml",
        "[[mirror]]",
        &before(&[key, key].concat()),
        "key.debug.name",
        "is there twice",
    );
    expect(
        "push.toml",
        "doc = \"The push itself.\"",
        "doc = \" \"",
        "mirror.thing_push.doc",
        "is empty",
    );
}

#[test]
fn facts_of_the_machine() {
    let wrong = |old: &str, new: &str, key: &str, reason: &str| {
        expect("target.toml", old, new, key, reason);
    };
    wrong(
        "type = \"bool\"",
        "type = \"u32\"",
        "fact[0].type",
        "unknown variant `u32`",
    );
    wrong("type = \"bool\"", "", "fact[0]", "missing field `type`");
    wrong(
        "symbol = \"thing_word\"",
        "symbl = \"thing_word\"",
        "fact[2].symbl",
        "unknown field `symbl`",
    );
    wrong("c = \"thing_counts\"", "", "array[0]", "missing field `c`");
    wrong("doc = \"The machine.\"", "doc = \"\"", "doc", "is empty");
    wrong(
        "name = \"fast\"",
        "name = \"Fast\"",
        "fact.Fast.name",
        "is no field name",
    );
    wrong(
        "name = \"counts\"",
        "name = \"type\"",
        "array.type.name",
        "is no field name",
    );
    wrong(
        "name = \"word\"",
        "name = \"door\"",
        "fact.door.name",
        "is there twice",
    );
    let twice = "[[array]]\nname = \"counts\"\nc = \"x\"\ndoc = \"x\"\n\n[[array]]";
    wrong("[[array]]", twice, "array.counts.name", "is there twice");
    wrong(
        "doc = \"It is fast.\"",
        "doc = \" \"",
        "fact.fast.doc",
        "is empty",
    );
    wrong(
        "doc = \"64 bits for each slot.\"",
        "doc = \"\"",
        "array.counts.doc",
        "is empty",
    );
}

#[test]
fn a_fact_of_the_machine_has_one_source() {
    let wrong = |old: &str, new: &str, key: &str, reason: &str| {
        expect("target.toml", old, new, key, reason);
    };
    let both = "exactly one of `c` and `symbol`";
    let two = "symbol = \"thing_word\"\nc = \"0\"";
    wrong("symbol = \"thing_word\"", two, "fact.word.c", both);
    wrong("c = \"thing_door\"", "", "fact.door.c", both);
    wrong("c = \"thing_door\"", "c = \" \"", "fact.door.c", "is empty");
    wrong(
        "symbol = \"thing_word\"",
        "symbol = \"\"",
        "fact.word.symbol",
        "is empty",
    );
    wrong(
        "c = \"boot_cpu_has(X86_FEATURE_FAST)\"",
        "symbol = \"thing_fast\"",
        "fact.fast.symbol",
        "is an address, not yes or no",
    );
    wrong(
        "c = \"thing_counts\"",
        "c = \"\"",
        "array.counts.c",
        "is empty",
    );
}

/// Both are lines of one listing.
#[test]
fn a_fact_of_the_machine_with_the_name_of_a_value() {
    expect(
        "target.toml",
        "name = \"word\"",
        "name = \"thing_fops\"",
        "fact.thing_fops.name",
        "is the name of a value in push.toml",
    );
}

#[test]
fn files_that_every_folder_has() {
    for name in ["reasons.toml", "arena.toml", "target.toml"] {
        let bench = Bench::new();
        std::fs::remove_file(bench.specs().join(name)).expect("it is there");
        let shown = specc::Set::load(&bench.specs())
            .expect_err("it is missing")
            .to_string();
        assert!(shown.starts_with(&format!("{name}: is not in ")), "{shown}");
    }
    let shown = specc::Set::load(std::path::Path::new("/no/such/folder"))
        .expect_err("no folder")
        .to_string();
    assert!(
        shown.starts_with("/no/such/folder: cannot read the specs folder"),
        "{shown}"
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let bench = Bench::new();
    bench.edit("specs/push.toml", "class = 1", "class = 9");
    bench.edit("specs/base.toml", "events = [\"task_newtask\"]", "");
    let error = specc::Set::load(&bench.specs()).expect_err("two mistakes");
    let files: Vec<_> = error
        .faults
        .iter()
        .map(|f| f.file.display().to_string())
        .collect();
    assert_eq!(files, ["base.toml", "push.toml"], "{error}");
}

#[test]
fn a_reason_whose_name_is_no_name() {
    let bench = Bench::new();
    bench.edit(
        "specs/reasons.toml",
        "name = \"threads\"",
        "name = \"No Threads\"",
    );
    let shown = specc::Set::load(&bench.specs())
        .expect_err("no name")
        .to_string();
    assert!(
        shown.contains("reasons.toml: reason.No Threads.name: is no name"),
        "{shown}"
    );
}
