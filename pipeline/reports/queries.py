"""The SQL behind a report."""

# A row of an actor that died before it published its price has no currency; it gets that of its run.
CHOOSE = (
    """
    CREATE OR REPLACE TEMP TABLE chosen_jobs AS
    SELECT *, epoch(finished_at - started_at) AS seconds FROM jobs
    WHERE ($run IS NULL OR run_id = $run) AND ($since IS NULL OR dt >= $since)
    """,
    """
    CREATE OR REPLACE TEMP TABLE chosen_costs AS
    SELECT costs.* EXCLUDE (currency), chosen_jobs.currency, model_id,
           coalesce(run_started_at::DATE, chosen_jobs.dt) AS day,
           kind = 'document' AND coalesce(outcome, 'finished') = 'finished' AS is_finished
    FROM costs JOIN chosen_jobs USING (run_id)
    """,
)

CURRENCIES = """
    SELECT currency FROM chosen_jobs WHERE currency IS NOT NULL
    GROUP BY currency ORDER BY max(started_at) DESC NULLS LAST, currency
"""

RUNS = """
    WITH spent AS (
        SELECT run_id, sum(cost) FILTER (kind = 'wasted') AS wasted,
               sum(cost) FILTER (kind = 'document') AS cost_of_documents,
               sum(device_seconds) FILTER (kind = 'document') AS document_seconds
        FROM chosen_costs GROUP BY run_id
    ), nights AS (
        SELECT run_id, epoch(max(finished_at) - run_started_at) AS seconds
        FROM chosen_costs WHERE run_started_at IS NOT NULL GROUP BY run_id, run_started_at
    ), worked AS (
        SELECT run_id, sum(seconds) AS seconds FROM nights GROUP BY run_id HAVING count(*) > 1
    )
    SELECT chosen_jobs.* EXCLUDE (config, peak_rss_bytes, seconds),
           coalesce(worked.seconds, chosen_jobs.seconds) AS seconds, coalesce(wasted, 0) AS wasted,
           coalesce(cost_of_documents, 0) AS cost_of_documents, document_seconds
    FROM chosen_jobs LEFT JOIN spent USING (run_id) LEFT JOIN worked USING (run_id)
    WHERE currency = $currency ORDER BY started_at DESC NULLS LAST, run_id DESC
"""


# Seconds and prices have 18 decimals together, so that the parts of a cost sum to it exactly.
SPENT = """
    WITH attempts AS (
        SELECT outcome, cost, device_seconds, coalesce(decode_seconds, 0)::DECIMAL(18, 6) AS decoding,
               (decoding * coalesce(price_per_second, 0))::DECIMAL(38, 18) AS cost_of_decoding
        FROM chosen_costs WHERE currency = $currency AND kind = 'document'
    ), parts AS (
        SELECT 'prefill' AS kind, outcome, cost - cost_of_decoding AS cost, device_seconds - decoding AS device_seconds
        FROM attempts
        UNION ALL SELECT 'decode', outcome, cost_of_decoding, decoding FROM attempts WHERE decoding > 0
        UNION ALL
        SELECT kind, outcome, cost, device_seconds FROM chosen_costs WHERE currency = $currency AND kind <> 'document'
    )
    SELECT kind, CASE WHEN kind = 'wasted' THEN coalesce(outcome, 'unknown')
                      WHEN kind IN $on_documents AND outcome = 'failed' THEN outcome END AS cause,
           sum(cost) AS cost, sum(device_seconds) AS device_seconds, count(*) AS parts
    FROM parts GROUP BY kind, cause ORDER BY list_position($kinds, kind) NULLS LAST, kind, cause NULLS FIRST
"""


# A run that was stopped may be resumed another night; each night has its own costs.
NIGHTS = """
    SELECT day, count(DISTINCT run_id) AS runs,
           count(*) FILTER (is_finished) AS documents,
           coalesce(sum(tokens_read), 0)::BIGINT AS tokens_read, coalesce(sum(cost), 0) AS cost,
           coalesce(sum(cost) FILTER (kind = 'document'), 0) AS cost_of_documents,
           coalesce(sum(cost) FILTER (kind = 'wasted'), 0) AS wasted,
           coalesce(sum(device_seconds) FILTER (kind = 'document'), 0) AS document_seconds,
           coalesce(sum(device_seconds) FILTER (kind <> 'node'), 0) AS seconds
    FROM chosen_costs WHERE currency = $currency GROUP BY day ORDER BY day DESC
"""

ATTEMPTS = """
    SELECT outcome, count(*) AS attempts FROM (
        SELECT any_value(outcome) AS outcome FROM chosen_costs WHERE currency = $currency AND attempt IS NOT NULL
        GROUP BY run_id, document_id, source_etag, attempt
    ) GROUP BY outcome ORDER BY attempts DESC, outcome
"""


# On demand, nothing would be lost by preemption. If both prices are equal, the one on demand is not known.
SPOT = """
    SELECT sum(cost) AS paid,
           sum(device_seconds * on_demand_price_per_second) FILTER (kind <> 'wasted') AS on_demand
    FROM chosen_costs
    WHERE currency = $currency AND market = 'spot' AND on_demand_price_per_second <> price_per_second
"""

DOCUMENTS = """
    WITH dearest AS (
        SELECT document_id, sum(tokens_read)::BIGINT AS tokens_read, sum(cost) AS cost,
               count(DISTINCT (run_id, source_etag, attempt)) AS attempts, count(DISTINCT run_id) AS runs
        FROM chosen_costs WHERE currency = $currency AND kind = 'document'
        GROUP BY document_id ORDER BY cost DESC, document_id LIMIT $most
    ), described AS (
        SELECT document_id, any_value(title) AS title, max(size_bytes) AS size_bytes
        FROM (SELECT run_id, document_id, title, size_bytes FROM summaries
              UNION ALL SELECT run_id, document_id, NULL, size_bytes FROM failures) SEMI JOIN chosen_jobs USING (run_id)
        SEMI JOIN dearest USING (document_id) GROUP BY document_id
    )
    SELECT * FROM dearest LEFT JOIN described USING (document_id) ORDER BY cost DESC, document_id
"""

UNSUPPORTED = """
    SELECT count(*) AS answers
    FROM summaries SEMI JOIN (SELECT * FROM chosen_jobs WHERE currency = $currency) USING (run_id)
    WHERE len(unsupported) > 0
"""

FAILURES = """
    SELECT error_class, count(*) AS documents, min(document_id) AS document_id,
           arg_min(error_message, document_id) AS error_message
    FROM failures SEMI JOIN (SELECT * FROM chosen_jobs WHERE currency = $currency) USING (run_id)
    GROUP BY error_class ORDER BY documents DESC, error_class
"""
