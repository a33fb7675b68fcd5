//! The seams of a step at which the ranks of a run meet: reductions over all samples, the size of
//! the global batch, and rows that were fetched from their owners.

use crate::program::*;
use din_program::schedule::{Combine, ScheduleRoot};
use din_program::schema::UpdateRule;
use din_runtime::cpu;
use din_runtime::exec::cpu::{CpuExecutor, PhasePartials, Reducer, combine};
use din_runtime::exec::{CheckError, ExecError, FetchedRows, StepInputs};
use std::sync::{Arc, Barrier, Mutex};

/// Joins the totals of two ranks, the first rank's before the second's.
#[derive(Debug)]
struct JoinedReducer {
    rank: usize,
    meeting: Arc<Meeting>,
}

#[derive(Debug)]
struct Meeting {
    barrier: Barrier,
    totals: [Mutex<Vec<Vec<f32>>>; 2],
}

impl Reducer for JoinedReducer {
    fn reduce(&self, partials: &mut PhasePartials<'_>) {
        partials.join_chunks();
        let own: Vec<Vec<f32>> = partials.totals().into_iter().map(|(_, total)| total.to_vec()).collect();
        *self.meeting.totals[self.rank].lock().unwrap() = own;
        self.meeting.barrier.wait();
        {
            let [first, second] = self.meeting.totals.each_ref().map(|totals| totals.lock().unwrap().clone());
            assert_eq!(first.len(), second.len());
            for (k, (how, total)) in partials.totals().into_iter().enumerate() {
                total.copy_from_slice(&first[k]);
                combine(how, total, &second[k]);
            }
        }
        self.meeting.barrier.wait();
        partials.store();
    }
}

/// Results of the training schedule, with the buffers' values.
type Results = Vec<(ScheduleRoot, Vec<f32>)>;

fn gradients(executor: &mut CpuExecutor, inputs: &StepInputs<'_>) -> Results {
    let program = executor.program().clone();
    executor.gradients(&state(&program), &tables(&program), inputs).unwrap();
    executor.train_results().map(|(root, values)| (root.clone(), values.to_vec())).collect()
}

/// Samples `from..to` of a batch.
fn part(whole: &Columns, from: usize, to: usize) -> Columns {
    let offsets = &whole.offsets[0][from..=to];
    let entries = offsets[0] as usize..offsets[to - from] as usize;
    let rows = &whole.row_numbers[0];
    Columns {
        rows: to - from,
        offsets: vec![offsets.iter().map(|o| o - offsets[0]).collect()],
        row_numbers: vec![vec![rows[0][entries].to_vec(), rows[1][from..to].to_vec()]],
        dense: vec![vec![], vec![], whole.dense[2][from..to].to_vec()],
        labels: vec![whole.labels[0][from..to].to_vec()],
        present: vec![whole.present[0][from..to].to_vec()],
    }
}

/// What two ranks compute of the halves of a batch, which meet at sample `middle`.
fn joined(whole: &Columns, middle: usize) -> [Results; 2] {
    let meeting = Arc::new(Meeting { barrier: Barrier::new(2), totals: [Mutex::default(), Mutex::default()] });
    let halves = [part(whole, 0, middle), part(whole, middle, whole.rows)];
    // Axes: global, batch, sequence.
    let counts = [1, whole.rows as u32, whole.offsets[0][whole.rows]];
    std::thread::scope(|scope| {
        let run = |rank: usize| {
            let (meeting, half, counts) = (meeting.clone(), &halves[rank], &counts);
            scope.spawn(move || {
                let mut executor = engine(program(), 2, cpu::detect()).unwrap();
                executor.set_reducer(Arc::new(JoinedReducer { rank, meeting }));
                gradients(&mut executor, &StepInputs { counts: Some(counts), ..half.inputs() })
            })
        };
        [run(0), run(1)].map(|rank| rank.join().unwrap())
    })
}

/// A batch whose samples have so many entries each.
fn uniform(random: &mut Random, samples: usize, entries: usize) -> Columns {
    let mut columns = Columns::random(random, samples);
    columns.offsets = vec![(0..=samples).map(|s| (s * entries) as u32).collect()];
    columns.row_numbers[0][0] = (0..samples * entries).map(|_| random.below(ROWS) as u32).collect();
    columns
}

/// 64 samples of 4 entries are 8 tiles of samples and 16 of entries, one per chunk. Half of them is
/// half of the chunks, so the tree over the chunks of both ranks, joined, is that over the chunks
/// of the whole.
#[test]
fn two_ranks_have_the_bits_of_one() {
    let mut random = Random(21);
    for _ in 0..5 {
        let batch = uniform(&mut random, 64, 4);
        let whole = gradients(&mut engine(program(), 3, cpu::detect()).unwrap(), &batch.inputs());
        let [first, second] = joined(&batch, 32);
        assert!(whole.len() > 6 && first.len() == whole.len() && second.len() == whole.len());
        for (((root, whole), (_, first)), (_, second)) in whole.iter().zip(&first).zip(&second) {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            match root {
                // By sample and by entry: each rank has its own.
                ScheduleRoot::Prediction { .. } | ScheduleRoot::RowGradient { .. } => {
                    assert_eq!(bits(whole), bits(&[first.as_slice(), second].concat()), "{root:?}");
                }
                _ => {
                    assert_eq!(bits(whole), bits(first), "{root:?}");
                    assert_eq!(bits(whole), bits(second), "{root:?}");
                }
            }
        }
    }
}

/// Where the chunks of a rank are not chunks of the whole batch, sums are the same numbers in
/// another order.
#[test]
fn two_ranks_agree_with_f64_where_chunks_differ() {
    let mut random = Random(22);
    for (samples, middle) in [(40, 13), (300, 7), (65, 64), (2, 1)] {
        let batch = Columns::random(&mut random, samples);
        let program = program();
        let mut reference = Reference::new(&state(&program), &tables(&program)[0]);
        let want = reference.step(&batch);
        let [first, second] = joined(&batch, middle);
        for rank in [&first, &second] {
            for (root, values) in rank {
                let what = format!("{samples} samples cut at {middle}: {root:?}");
                match root {
                    ScheduleRoot::Loss(_) => crate::close(values, &[want], &what),
                    ScheduleRoot::State { .. } => crate::close(values, &reference.moments, &what),
                    ScheduleRoot::Named { .. } => crate::close(values, &reference.largest, &what),
                    _ => {}
                }
            }
        }
        let of = |rank: &Results| {
            rank.iter().find(|(root, _)| matches!(root, ScheduleRoot::ParamGradient { .. })).unwrap().clone()
        };
        assert_eq!(of(&first), of(&second));
    }
}

#[test]
fn totals_join_as_chunks_do() {
    let mut total = [1.0, -2.0];
    combine(Combine::Sum, &mut total, &[0.5, 2.5]);
    assert_eq!(total, [1.5, 0.5]);
    combine(Combine::Max, &mut total, &[1.0, 3.0]);
    assert_eq!(total, [1.5, 3.0]);
    // Mean, M2 and count of 1, 3 and of 5, 7, 9.
    let mut moments = [2.0, 2.0, 2.0];
    combine(Combine::Moments, &mut moments, &[7.0, 8.0, 3.0]);
    assert_eq!((moments[0], moments[2]), (5.0, 5.0));
    assert!((moments[1] - 40.0).abs() < 1e-4, "{moments:?}");
    combine(Combine::Moments, &mut moments, &[9.0, 9.0, 0.0]);
    assert_eq!(moments[0], 5.0);
}

/// The rows that a batch reads, copied from a table, and the batch with numbers of those.
fn fetch(batch: &Columns, weights: &[f32]) -> (FetchedRows, Vec<Vec<Vec<u32>>>) {
    let mut numbers = batch.row_numbers[0].concat();
    numbers.sort_unstable();
    numbers.dedup();
    let values = numbers.iter().flat_map(|&n| weights[n as usize * D..(n as usize + 1) * D].to_vec()).collect();
    let place = |row: &u32| numbers.binary_search(row).unwrap() as u32;
    let renumbered = batch.row_numbers[0].iter().map(|rows| rows.iter().map(place).collect()).collect();
    (FetchedRows { numbers, values }, vec![renumbered])
}

/// Steps that read copies of their rows have the bits of steps that read the table.
#[test]
fn fetched_rows_are_as_good_as_the_table() {
    for rule in [UpdateRule::Sparse, UpdateRule::Dense] {
        let made = || {
            let mut program = program();
            program.tables[0].update_rule = rule;
            (state(&program), tables(&program), engine(program, 2, cpu::detect()).unwrap())
        };
        let ((mut state, mut tables, mut direct), (mut other_state, mut other_tables, mut fetching)) = (made(), made());
        let mut random = Random(23);
        for samples in [40, 1, 7, 300, 64] {
            let batch = Columns::random(&mut random, samples);
            let loss = direct.train_step(&mut state, &mut tables, &batch.inputs()).unwrap();
            let (fetched, row_numbers) = fetch(&batch, other_tables[0].weights());
            let fetched = [fetched];
            let inputs = StepInputs { row_numbers: &row_numbers, fetched: Some(&fetched), ..batch.inputs() };
            let other_loss = fetching.train_step(&mut other_state, &mut other_tables, &inputs).unwrap();
            assert_eq!(loss.to_bits(), other_loss.to_bits());
            assert_eq!(state, other_state);
            let (a, b) = (&tables[0], &other_tables[0]);
            assert!(a.weights() == b.weights() && a.slot(0) == b.slot(0), "{samples} samples, {rule:?} updates");
            fetching.infer(&other_state, &other_tables, &inputs).unwrap();
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    let program = program();
    let (state, tables) = (state(&program), tables(&program));
    let mut executor = engine(program, 1, cpu::detect()).unwrap();
    let batch = Columns::random(&mut Random(24), 20);
    let (good, row_numbers) = fetch(&batch, tables[0].weights());
    let mut refused = |fetched: Option<&[FetchedRows]>, counts: Option<&[u32]>| {
        let inputs = match fetched {
            Some(_) => StepInputs { row_numbers: &row_numbers, fetched, counts, ..batch.inputs() },
            None => StepInputs { counts, ..batch.inputs() },
        };
        let outcome = executor.gradients(&state, &tables, &inputs);
        matches!(outcome, Err(ExecError::Check(CheckError::Input(_))))
    };
    assert!(!refused(Some(std::slice::from_ref(&good)), None) && !refused(None, Some(&[1, 40, 90])));
    assert!(refused(None, Some(&[1, 40])));
    assert!(refused(Some(&[]), None));
    let spoiled = |spoil: fn(&mut FetchedRows)| {
        let mut rows = good.clone();
        spoil(&mut rows);
        [rows]
    };
    assert!(refused(Some(&spoiled(|rows| rows.numbers.swap(0, 1))), None));
    assert!(refused(Some(&spoiled(|rows| rows.values.truncate(5))), None));
    assert!(refused(Some(&spoiled(|rows| *rows.numbers.last_mut().unwrap() = ROWS as u32)), None));
    let short = spoiled(|rows| {
        rows.numbers.pop();
        rows.values.truncate(rows.numbers.len() * D);
    });
    assert!(refused(Some(&short), None), "a batch names a row that was not fetched");
}
