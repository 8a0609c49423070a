//! The contract as tests. Each engine runs all of them.

/// Makes a test for one part of the contract.
///
/// `open` opens an empty database, with limits and a folder, for this test only.
macro_rules! promise {
    ($promise:ident, $open:path, [$($attribute:meta)?]) => {
        #[tokio::test]
        $(#[$attribute])?
        async fn $promise() {
            let folder = tempfile::tempdir().unwrap();
            $crate::tests::contract::$promise(async |bounds| $open(bounds, folder.path()).await).await;
        }
    };
}

macro_rules! promises {
    ($open:path, $attributes:tt, $($promise:ident)*) => {
        $($crate::tests::contract::promise!($promise, $open, $attributes);)*
    };
}

/// Makes a test for each part of the contract.
macro_rules! keeps_the_contract {
    ($open:path, $attributes:tt) => {
        $crate::tests::contract::promises! { $open, $attributes,
            a_transaction_is_all_or_nothing
            a_failed_statement_is_rolled_back_alone
            fifty_buyers_of_ten_mugs_get_ten
            fifty_transactions_on_ten_mugs_sell_ten
            a_unique_key_is_taken_once_by_many_callers
            a_broken_constraint_is_named
            execute_refuses_reads_and_query_refuses_writes
            forbidden_statements_are_denied
            readers_see_the_old_state_during_a_transaction
            every_later_read_sees_an_acknowledged_write
            parameters_are_bound_by_their_number
            values_are_read_as_they_were_written
            a_sum_is_an_integer_and_an_average_is_real
            a_result_is_limited
            a_write_with_too_large_a_result_has_no_effect
            a_value_is_limited
            an_endless_statement_is_stopped
            the_end_of_a_lease_frees_the_writer
            waiting_for_the_writer_ends
            a_caller_that_gives_up_frees_the_writer
            migrations_run_once_and_in_order
            a_failed_migration_rolls_back_its_whole_run
            a_query_sees_a_changed_schema_at_once
            generated_ids_continue_after_those_of_a_migration
            only_additions_are_additive
            a_rehearsal_leaves_no_trace
            tables_are_listed_with_their_columns_and_keys
            a_key_has_its_last_value_until_it_is_deleted
            a_list_of_keys_continues_at_its_cursor
            many_increments_lose_none
            a_batch_of_entries_is_all_or_nothing
            entries_and_batches_are_limited
            a_rehearsal_of_entries_leaves_no_trace
        }
    };
}

pub(crate) use super::keyvalue::{
    a_batch_of_entries_is_all_or_nothing, a_key_has_its_last_value_until_it_is_deleted,
    a_list_of_keys_continues_at_its_cursor, a_rehearsal_of_entries_leaves_no_trace, entries_and_batches_are_limited,
    many_increments_lose_none,
};
pub(crate) use super::limits::{
    a_caller_that_gives_up_frees_the_writer, a_result_is_limited, a_value_is_limited,
    a_write_with_too_large_a_result_has_no_effect, an_endless_statement_is_stopped,
    the_end_of_a_lease_frees_the_writer, waiting_for_the_writer_ends,
};
pub(crate) use super::migrations::{
    a_failed_migration_rolls_back_its_whole_run, a_query_sees_a_changed_schema_at_once, a_rehearsal_leaves_no_trace,
    generated_ids_continue_after_those_of_a_migration, migrations_run_once_and_in_order, only_additions_are_additive,
    tables_are_listed_with_their_columns_and_keys,
};
pub(crate) use super::shop::Bounds;
pub(crate) use super::transactions::{
    a_broken_constraint_is_named, a_failed_statement_is_rolled_back_alone, a_transaction_is_all_or_nothing,
    a_unique_key_is_taken_once_by_many_callers, every_later_read_sees_an_acknowledged_write,
    execute_refuses_reads_and_query_refuses_writes, fifty_buyers_of_ten_mugs_get_ten,
    fifty_transactions_on_ten_mugs_sell_ten, forbidden_statements_are_denied,
    readers_see_the_old_state_during_a_transaction,
};
pub(crate) use super::values::{
    a_sum_is_an_integer_and_an_average_is_real, parameters_are_bound_by_their_number,
    values_are_read_as_they_were_written,
};
pub(crate) use {keeps_the_contract, promise, promises};
