//! Every case, once per broker.

use super::fixture::Fixture;

macro_rules! suite {
    ($($module:ident::$case:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::super::$module::$case(&super::Fixture::embedded()).await;
            })*
        }

        mod kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(fixture) = super::Fixture::kafka(stringify!($case)) {
                    super::super::$module::$case(&fixture).await;
                }
            })*
        }
    };
}

suite! {
    topics::a_topic_is_made_once,
    topics::an_unknown_topic_is_refused,
    topics::an_unknown_partition_is_refused,
    topics::watermarks_follow_the_log,
    topics::the_broker_answers_a_probe,
    appending::appends_of_one_caller_keep_their_order,
    appending::concurrent_appends_keep_each_callers_order,
    appending::a_record_comes_back_whole,
    appending::a_record_that_is_too_large_is_refused,
    appending::an_acknowledged_record_survives_reopening,
    tailing::a_tail_starts_where_it_is_told,
    tailing::a_tail_outside_the_log_is_refused,
    tailing::a_tail_is_woken_by_its_own_partition_only,
    tailing::a_cancelled_read_loses_nothing,
    tailing::tails_of_one_partition_are_independent,
    tailing::a_tail_reads_what_no_longer_fits_in_memory,
    grouping::a_lone_member_reads_everything,
    grouping::two_members_share_the_partitions,
    grouping::a_partition_moves_only_once_its_owner_comes_back,
    grouping::who_leaves_is_succeeded_at_the_committed_offset,
    grouping::a_group_goes_on_after_reopening,
    grouping::groups_are_independent,
    model::the_log_is_a_vector_per_partition,
}
