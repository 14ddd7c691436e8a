//! The programs, and what must come of each.

/// What attaching all processes of a program does to its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Helps,
    Nothing,
    Costs,
}

/// How it is seen that a program did the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// It writes the same bytes.
    Output,
    /// It prints times, but its processes write as many bytes, pipes included, and it checks itself what it reads.
    Written,
}

/// Why a process or a pipe has no paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    Threads,
    NamedPipe,
}

pub struct Program {
    /// Its name in the table, and what `--only` chooses by.
    pub name: &'static str,
    /// What a shell runs in the folder that has `in`, `jobs.mk` and `workers.py`.
    pub script: &'static str,
    pub same: Same,
    pub effect: Effect,
    /// Least and most that paths serve of its pipe calls, in percent.
    pub served: [u64; 2],
    /// What it has that paths do not: held against what is counted.
    pub has: &'static [Has],
    /// Why, in the table.
    pub why: &'static str,
}

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "`hackbench -P -p`",
        script: "hackbench -P -p -g 1 -f 4 -l 1500",
        same: Same::Written,
        effect: Effect::Helps,
        served: [70, 100],
        has: &[],
        why: "messages of 100 bytes, hundreds for each wait",
    },
    Program {
        name: "`seq`, `while read`",
        script: "seq 1 6000 | { s=0; while read n; do s=$((s+n)); done; echo $s; }",
        same: Same::Output,
        effect: Effect::Helps,
        served: [95, 100],
        has: &[],
        why: "a shell reads lines byte by byte",
    },
    Program {
        name: "Python, `SimpleQueue`",
        script: "python3 workers.py",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [40, 100],
        has: &[],
        why: "most calls are served, but they are a small part of what the interpreter executes",
    },
    Program {
        name: "`perf bench sched pipe`",
        script: "perf bench sched pipe -l 4000",
        same: Same::Written,
        effect: Effect::Nothing,
        served: [0, 40],
        has: &[],
        why: "most messages are for a reader that sleeps: the empty read and the write that wakes are stock",
    },
    Program {
        name: "`yes`, `pv`",
        script: "yes | pv -qSs 16m",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [0, 5],
        has: &[],
        why: "`yes` writes two pages at a time; `pv` does not read, it splices",
    },
    Program {
        name: "`tar`, `zstd`, `tar`",
        script: "rm -rf out; mkdir out; tar -c in | zstd -q | tar -x --zstd -C out; cat out/in/*",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [0, 15],
        has: &[Has::Threads],
        why: "`tar` writes ten kilobytes at a time, `zstd` has threads",
    },
    Program {
        name: "`tar -b 8`, `tar`",
        script: "rm -rf out; mkdir out; tar -cb 8 in | tar -xb 8 -C out; cat out/in/*",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [0, 20],
        has: &[],
        why: "whole pages, one behind the other: only the first into an empty pipe has a path",
    },
    Program {
        name: "`stress-ng --pipe`",
        script: "stress-ng --pipe 1 --pipe-ops 2000 --verify",
        same: Same::Written,
        effect: Effect::Nothing,
        served: [0, 5],
        has: &[],
        why: "whole pages, one behind the other",
    },
    Program {
        name: "`seq`, `cut`, `uniq`, `sort`",
        script: "seq 1 200000 | cut -c1-3 | uniq -c | sort -n | tail -n 2",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [0, 20],
        has: &[],
        why: "a page or more at a time: few calls, and none of them small",
    },
    Program {
        name: "`seq`, `gron`, `tail`",
        script: "seq 1 5000 | gron --stream | tail -n 3",
        same: Same::Output,
        effect: Effect::Nothing,
        served: [0, 5],
        has: &[Has::Threads],
        why: "`gron` is written in Go and has threads; `tail` asks for two pages at a time and sleeps",
    },
    Program {
        name: "`make -j2`",
        script: "make -s -j2 -f jobs.mk | sort",
        same: Same::Output,
        effect: Effect::Costs,
        served: [0, 40],
        has: &[Has::NamedPipe],
        why: "few tokens pass, through a named pipe; each process that is born is attached for nothing",
    },
    Program {
        name: "`make -j2 --jobserver-style=pipe`",
        script: "make -s -j2 --jobserver-style=pipe -f jobs.mk | sort",
        same: Same::Output,
        effect: Effect::Costs,
        served: [0, 40],
        has: &[],
        why: "few tokens pass; each process that is born is attached for nothing",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What was changed here and not run since is not in the table, nor what is no longer here.
    #[test]
    fn the_docs_have_these_programs_and_no_others() {
        let text = include_str!("../../../../../docs/programs.md");
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| `") || line.starts_with("| Python"));
        let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
        assert_eq!(
            rows.len(),
            PROGRAMS.len(),
            "SYNTH_BLESS=1 make test-programs"
        );
        for (row, program) in rows.iter().zip(PROGRAMS) {
            let effect = match program.effect {
                Effect::Helps => "helps",
                Effect::Nothing => "nothing",
                Effect::Costs => "costs",
            };
            let cells = [row[0], row[row.len() - 2], row[row.len() - 1]];
            let name = format!("| {}", program.name);
            assert_eq!(cells, [&name, effect, &format!("{} |", program.why)]);
        }
    }
}
