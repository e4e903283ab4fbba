//! What a failure of a foreign history tells is true: the reduced file is a history of its
//! own that fails by the same operation, in every model, and nothing more of it can go.

mod dice;

use dice::Dice;
use gamekeeper_checker::explain::Budget;
use gamekeeper_checker::formats::{
    Failure, Finding, Judged, Settings, judge, judge_explained, tsv,
};
use gamekeeper_checker::linear::generate::{self, Values, generate};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn explained(text: &str) -> Judged {
    explained_within(text, Budget::default())
}

fn explained_within(text: &str, budget: Budget) -> Judged {
    let judged = judge_explained(text.as_bytes(), &Settings::default(), Some(budget));
    judged.unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn small(failure: &Failure) -> String {
    let small = failure.small.clone().expect("it was reduced");
    String::from_utf8(small).unwrap()
}

/// Property, and what convicts without its line and interval, of an invalid history.
fn convicts(judged: &Judged) -> (String, String, Vec<String>) {
    let Finding::Invalid {
        property,
        records,
        states,
        ..
    } = &judged.report.finding
    else {
        panic!("not invalid: {}", judged.report);
    };
    let (who, what) = records[0].1.split_once(']').unwrap();
    let client = who.split(' ').nth(1).unwrap();
    (
        property.clone(),
        sorted(&format!("{client}{what}")),
        states.iter().map(|state| sorted(state)).collect(),
    )
}

/// The words in order: elements of a set are told in the order in which the file has them.
fn sorted(text: &str) -> String {
    let mut words: Vec<&str> = text.split(['{', '}', ' ', ',', '[', ']']).collect();
    words.sort_unstable();
    words.join(" ")
}

/// An object of Jepsen's world: what it answers to a request, as EDN.
enum Object {
    Queue(VecDeque<usize>),
    Set(BTreeSet<usize>),
    Mutex(Option<usize>),
    Texts(BTreeMap<usize, String>),
    Lists(BTreeMap<usize, Vec<usize>>),
}

/// A request: its `:f`, what else stands in it, and the numbers it is about.
struct Asked {
    f: &'static str,
    rest: String,
    numbers: [usize; 2],
}

impl Object {
    fn ask(&self, dice: &mut Dice, process: usize, fresh: usize) -> Asked {
        let asked = |f, rest: String, numbers| Asked { f, rest, numbers };
        let nil = || ":value nil".to_string();
        let key = dice.below(2);
        let half = dice.one_in(2);
        match self {
            Object::Queue(_) if half => asked("enqueue", format!(":value {fresh}"), [fresh, 0]),
            Object::Queue(_) => asked("dequeue", nil(), [0, 0]),
            Object::Set(_) if half => asked("add", format!(":value {fresh}"), [fresh, 0]),
            Object::Set(_) => asked("read", nil(), [0, 0]),
            Object::Mutex(Some(holder)) if *holder == process => asked("release", nil(), [0, 0]),
            Object::Mutex(_) => asked("acquire", nil(), [0, 0]),
            Object::Texts(_) if half => {
                let rest = format!(":key \"{key}\", :value \"{fresh}.\"");
                asked("append", rest, [key, fresh])
            }
            Object::Texts(_) => asked("get", format!(":key \"{key}\", :value nil"), [key, 0]),
            Object::Lists(_) => {
                let rest = format!(":value [[:append {key} {fresh}] [:r {} nil]]", 1 - key);
                asked("txn", rest, [key, fresh])
            }
        }
    }

    /// Does it and answers; None while a lock is held by somebody.
    fn answer(&mut self, asked: &Asked, process: usize) -> Option<String> {
        let [a, b] = asked.numbers;
        let shown = |numbers: &[usize]| {
            let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
            format!("[{}]", numbers.join(" "))
        };
        Some(match (self, asked.f) {
            (Object::Queue(queue), "enqueue") => {
                queue.push_back(a);
                asked.rest.clone()
            }
            (Object::Queue(queue), _) => match queue.pop_front() {
                Some(first) => format!(":value {first}"),
                None => ":value nil".into(),
            },
            (Object::Set(set), "add") => {
                set.insert(a);
                asked.rest.clone()
            }
            (Object::Set(set), _) => {
                let numbers: Vec<usize> = set.iter().copied().collect();
                format!(":value #{{{}}}", shown(&numbers).trim_matches(['[', ']']))
            }
            (Object::Mutex(Some(_)), "acquire") => return None,
            (Object::Mutex(holder), f) => {
                *holder = (f == "acquire").then_some(process);
                asked.rest.clone()
            }
            (Object::Texts(texts), "append") => {
                texts.entry(a).or_default().push_str(&format!("{b}."));
                asked.rest.clone()
            }
            (Object::Texts(texts), _) => {
                let text = texts.get(&a).cloned().unwrap_or_default();
                format!(":key \"{a}\", :value \"{text}\"")
            }
            (Object::Lists(lists), _) => {
                lists.entry(a).or_default().push(b);
                let seen = lists
                    .get(&(1 - a))
                    .map_or(String::from("[]"), |list| shown(list));
                format!(":value [[:append {a} {b}] [:r {} {seen}]]", 1 - a)
            }
        })
    }
}

/// A history of `requests` requests by four processes at once; answers that ask for it are
/// bent by `bend` after two thirds.
fn history(mut object: Object, seed: u64, requests: usize) -> String {
    const PROCESSES: usize = 4;
    let mut dice = Dice(seed);
    let mut open: [Option<(Asked, Option<String>)>; PROCESSES] = Default::default();
    let mut lines = Vec::new();
    let (mut asked, mut fresh) = (0, 0);
    while asked < requests {
        let process = dice.below(PROCESSES);
        let line = |kind: &str, f: &str, rest: &str| {
            format!("{{:process {process}, :type :{kind}, :f :{f}, {rest}}}\n")
        };
        match open[process].take() {
            None => {
                (asked, fresh) = (asked + 1, fresh + 1);
                let request = object.ask(&mut dice, process, fresh);
                lines.push(line("invoke", request.f, &request.rest));
                open[process] = Some((request, None));
            }
            Some((request, None)) => {
                let answer = object.answer(&request, process);
                open[process] = Some((request, answer));
            }
            // Now and then nobody learns the answer.
            Some((request, Some(_))) if dice.one_in(30) => {
                lines.push(line("info", request.f, &request.rest));
            }
            Some((request, Some(answer))) => lines.push(line("ok", request.f, &answer)),
        }
    }
    lines.concat()
}

/// Swaps the answers of two reads of the last third, or repeats a completed request.
fn spoil(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let reads = |line: &String| {
        let told = [":read", ":get", ":dequeue", ":txn", ":acquire"];
        line.contains(":type :ok") && told.iter().any(|f| line.contains(f))
    };
    let late = lines.len() * 2 / 3;
    let reads: Vec<usize> = (late..lines.len())
        .filter(|&at| reads(&lines[at]))
        .collect();
    let (Some(at), Some(other)) = (dice.pick(&reads), dice.pick(&reads)) else {
        return text.to_string();
    };
    match lines[at].contains(":acquire") {
        // Somebody else holds the lock at the same time.
        true => {
            let invoke = "{:process 9, :type :invoke, :f :acquire, :value nil}".to_string();
            let ok = invoke.replace(":invoke", ":ok");
            lines.splice(at + 1..at + 1, [invoke, ok]);
        }
        false => {
            let value = |line: &str| line[line.find(":value").unwrap()..].to_string();
            let (left, right) = (value(&lines[at]), value(&lines[other]));
            lines[at] = lines[at].replace(&left, &right);
            lines[other] = lines[other].replace(&right, &left);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Invalid histories of a kind.
fn invalid(object: fn() -> Object, requests: usize) -> Vec<String> {
    let spoilt = |seed| spoil(&history(object(), seed, requests), &mut Dice(!seed));
    let is_invalid = |text: &String| {
        let report = judge(text.as_bytes(), &Settings::default());
        report.is_ok_and(|report| report.code() == 1)
    };
    (0..24).map(spoilt).filter(is_invalid).collect()
}

/// What must hold of every reduction; how many operations are left.
fn holds(text: &str) -> usize {
    let judged = explained(text);
    let failure = judged.failure.as_ref().expect("it is invalid");
    let reduction = failure
        .explanation
        .reduction
        .as_ref()
        .expect("it was reduced");
    assert_eq!(reduction.spent, None, "{text}");
    let small = small(failure);
    let again = explained(&small);
    let (property, words, states) = convicts(&judged);
    let (property_again, words_again, states_again) = convicts(&again);
    assert_eq!((property, words), (property_again, words_again), "{small}");
    // The first few of many states say nothing of the others.
    let all_told = !states.iter().any(|state| state.contains("more"));
    assert!(
        !all_told || states_again.iter().all(|state| states.contains(state)),
        "{states_again:?} of {states:?}: {small}"
    );
    let twice = again.failure.as_ref().expect("it is invalid");
    let kept = &twice
        .explanation
        .reduction
        .as_ref()
        .expect("it was reduced")
        .kept;
    assert_eq!(kept.len(), reduction.kept.len(), "{small}");
    assert_eq!(
        small,
        self::small(explained(text).failure.as_ref().unwrap())
    );
    kept.len()
}

fn hold(object: fn() -> Object, requests: usize, left_max: usize) {
    let mut left: Vec<usize> = invalid(object, requests)
        .iter()
        .map(|text| holds(text))
        .collect();
    left.sort_unstable();
    assert!(left.len() >= 5, "only {} were invalid", left.len());
    assert!(left[left.len() / 2] <= left_max, "{left:?}");
}

#[test]
fn reduced_queues_fail_by_the_same_dequeue() {
    hold(|| Object::Queue(VecDeque::new()), 40, 4);
}

#[test]
fn reduced_sets_fail_by_the_same_read() {
    hold(|| Object::Set(BTreeSet::new()), 40, 16);
}

#[test]
fn reduced_locks_fail_by_the_same_acquire() {
    hold(|| Object::Mutex(None), 40, 2);
}

#[test]
fn reduced_texts_fail_by_the_same_get() {
    hold(|| Object::Texts(BTreeMap::new()), 40, 8);
}

#[test]
fn reduced_lists_fail_by_the_same_transaction() {
    hold(|| Object::Lists(BTreeMap::new()), 24, 20);
}

/// A drawn history of a register, with its zxids.
fn drawn(seed: u64, values: Values, broken: bool) -> String {
    let settings = generate::Settings {
        operations: 300,
        unanswered: 6,
        seed,
        values,
        broken,
        stale: !broken,
        ..generate::Settings::default()
    };
    let mut file = Vec::new();
    tsv::write(&tsv::Registers::drawn(generate(&settings)), &mut file).unwrap();
    String::from_utf8(file).unwrap()
}

/// Without the last column.
fn without_zxids(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once('\t') {
        Some((rest, _)) if !line.starts_with('#') => format!("{rest}\t-1\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn reduced_registers_fail_by_the_same_operation() {
    let mut left = Vec::new();
    for seed in 0..6 {
        for values in [Values::Few, Values::Distinct] {
            for broken in [true, false] {
                left.push(holds(&without_zxids(&drawn(seed, values, broken))));
            }
        }
    }
    left.sort_unstable();
    assert!(left[left.len() / 2] <= 6, "{left:?}");
}

#[test]
fn reduced_registers_with_zxids_break_the_same_promise() {
    let mut left = Vec::new();
    for seed in 0..6 {
        for values in [Values::Few, Values::Distinct] {
            left.push(holds(&drawn(seed, values, true)));
        }
    }
    left.sort_unstable();
    assert!(left[left.len() / 2] <= 4, "{left:?}");
}

#[test]
fn what_made_a_stale_read_right_once_is_not_left_out() {
    let text = "# a register\n1\t0\t10\tw\tx\ta\t-\t-\t-1\n1\t20\t30\tw\tx\tb\t-\t-\t-1\n\
                2\t40\t50\tr\tx\t-\t-\ta\t-1\n3\t0\t50\tw\tx\tc\t-\t-\t-1\n";
    let judged = explained(text);
    let failure = judged.failure.unwrap();
    assert!(failure.explanation.account.class.starts_with("stale"));
    let small = small(&failure);
    assert!(small.contains("w\tx\ta"), "{small}");
    assert_eq!(small.lines().count(), 4, "{small}");
}

#[test]
fn a_reduction_that_ran_out_says_of_what() {
    let text = without_zxids(&drawn(1, Values::Few, true));
    let short = |judgements, steps| Budget {
        judgements,
        steps,
        ..Budget::default()
    };
    for (budget, word) in [
        (short(3, u64::MAX), "the judgements ran out"),
        (short(u32::MAX, 3_000), "the steps of the search ran out"),
    ] {
        let failure = explained_within(&text, budget).failure.unwrap();
        let reduced = failure.explanation.account.reduced.as_ref().unwrap();
        assert!(reduced.summary.contains(word), "{}", reduced.summary);
        assert_eq!(explained(&small(&failure)).report.code(), 1);
    }
}

#[test]
fn a_page_of_a_foreign_history_is_safe_and_shows_what_convicts() {
    let hostile = "<script>alert('x')</script>\u{1b}[31m";
    let text = format!("# x\n1\t0\t10\tr\tx\t-\t-\t{hostile}\t-1\n");
    let judged = explained(&text);
    let failure = judged.failure.unwrap();
    let page = failure.page("<i>name</i>").unwrap();
    assert!(!page.contains("<script") && !page.contains("<i>name"));
    assert!(page.contains("alert(") && page.contains("client 1"));
    let odd = |c: char| c.is_control() && c != '\n';
    let told = failure.explanation.account.to_string();
    assert!(!page.contains(odd) && !told.contains(odd), "{told}");
}
