# ruff: noqa: S608 - what is put together here is ours; values are bound.
"""The statements of `scheduler.board`: each has one row, which is JSON."""

from typing import Final

from scheduler import views
from scheduler.minutes import ENDED
from scheduler.review import COUNT_OF_CAMPAIGN, IS_UNDER_REVIEW

_CAMPAIGN_JSON: Final = f"""json_object(
    'id', campaign.id, 'uuid', uuid, 'playbook', playbook ->> 'name', 'ring_seconds', playbook ->> 'ring_timeout_seconds',
    'status', status, 'launch_at', launch_at, 'clock_shift_ms', clock_shift_ms, 'stagger_ms', stagger_ms, 'recall', recall,
    'first_call', first_call, 'size', size, 'cursor', cursor, 'live', live, 'finished', finished, 'attempts', attempts,
    'under_review', {COUNT_OF_CAMPAIGN}, 'last_first_attempt_at', last_first_attempt_at, 'created_at', created_at,
    'ended_at', ended_at, 'expires_at', expires_at, 'zones', zones, 'calling_hours', playbook ->> 'calling_hours',
    'dispositions', (
        SELECT json_group_object(disposition, calls) FROM outcome WHERE campaign_id = campaign.id AND calls > 0))"""
_NAME: Final = """coalesce(
    nullif(trim(coalesce(call.contact ->> 'first_name', '') || ' ' || coalesce(call.contact ->> 'last_name', '')), ''),
    call.contact ->> 'company', '')"""
_OWNER: Final = "(SELECT id FROM campaign WHERE first_call <= call_id ORDER BY first_call DESC LIMIT 1)"
# Only the newest few are joined with what is shown of them.
LIVE: Final = f"""
WITH mine AS MATERIALIZED (
    SELECT open.* FROM (SELECT *, {_OWNER} AS owner FROM open_attempt) AS open
    JOIN campaign ON campaign.id = owner WHERE account_id = :account),
newest AS (SELECT * FROM mine ORDER BY fire_at DESC, call_id DESC LIMIT :calls)
SELECT json_object(
    'waiting', (SELECT count(*) FROM mine WHERE ringing_at IS NULL AND answered_at IS NULL),
    'ringing', (SELECT count(*) FROM mine WHERE ringing_at IS NOT NULL AND answered_at IS NULL),
    'talking', (SELECT count(*) FROM mine WHERE answered_at IS NOT NULL),
    'calls', (
        SELECT json_group_array(json_object(
            'id', call.id, 'phone', phone, 'name', {_NAME}, 'state', 'live', 'attempts', number,
            'invites', invites, 'reason', newest.reason, 'fire_at', fire_at, 'dialed_at', dialed_at, 'ringing_at', ringing_at,
            'answered_at', answered_at, 'trunk', trunk,
            'campaign', playbook ->> 'name', 'campaign_id', CASE single WHEN 0 THEN uuid END))
        FROM newest JOIN call ON call.id = newest.call_id JOIN campaign ON campaign.id = owner))"""
GOING_ON: Final = f"""
SELECT json_object(
    'counts', (SELECT json_group_object(status, json_object('campaigns', n, 'left', unfinished)) FROM (
        SELECT status, count(*) AS n, sum(size - finished) AS unfinished FROM campaign INDEXED BY campaign_going_on
        WHERE account_id = :account AND single = 0 AND status IN ('scheduled', 'running', 'paused') GROUP BY status)),
    'campaigns', (SELECT json_group_array(json(shown)) FROM (
        SELECT {_CAMPAIGN_JSON} AS shown FROM (
            SELECT id AS chosen FROM campaign INDEXED BY campaign_going_on
            WHERE account_id = :account AND single = 0 AND status IN ('scheduled', 'running', 'paused')
            ORDER BY CASE status WHEN 'running' THEN 0 WHEN 'paused' THEN 1 ELSE 2 END,
                     CASE status WHEN 'scheduled' THEN launch_at END, id DESC LIMIT :campaigns)
        JOIN campaign_now AS campaign ON campaign.id = chosen)),
    'over', (SELECT json_group_array(json(shown)) FROM (
        SELECT {_CAMPAIGN_JSON} AS shown FROM (
            SELECT id AS chosen FROM campaign INDEXED BY campaign_account
            WHERE account_id = :account AND single = 0 AND status IN ('completed', 'cancelled') ORDER BY id DESC LIMIT 5)
        JOIN campaign_now AS campaign ON campaign.id = chosen)))"""
CAMPAIGNS: Final = f"""
SELECT json_group_array(json(shown)) FROM (
    SELECT {_CAMPAIGN_JSON} AS shown FROM (
        SELECT id AS chosen FROM campaign INDEXED BY campaign_account
        WHERE account_id = :account AND single = 0 AND status <> 'loading' AND (:status IS NULL OR status = :status)
        AND (:after IS NULL OR id < :after) ORDER BY id DESC LIMIT :limit)
    JOIN campaign_now AS campaign ON campaign.id = chosen)"""
CAMPAIGN: Final = f"""
SELECT {_CAMPAIGN_JSON} FROM campaign_now AS campaign
WHERE uuid = :uuid AND account_id = :account AND single = 0 AND status <> 'loading'"""
# A call's newest attempt: the one under way, else the last of those that are over. The view of both would be read whole.
_NEWEST: Final = """
LEFT JOIN open_attempt AS open ON open.call_id = call.id
LEFT JOIN ended_attempt AS ended ON ended.call_id = call.id AND ended.number = call.attempts AND open.call_id IS NULL"""
_OF_NEWEST: Final = """
    'attempts', call.attempts + (open.call_id IS NOT NULL),
    'reason', CASE WHEN open.call_id IS NULL THEN call.reason ELSE open.reason END,
    'dialed_at', coalesce(open.dialed_at, ended.dialed_at), 'ringing_at', coalesce(open.ringing_at, ended.ringing_at),
    'answered_at', coalesce(open.answered_at, ended.answered_at), 'ended_at', ended.ended_at,
    'trunk', coalesce(open.trunk, ended.trunk), 'sip_status', ended.sip_status"""
_LISTED: Final = f"""
SELECT json_group_array(json_object(
    'id', call.id, 'phone', call.phone, 'name', {_NAME},
    'state', listed.state, 'disposition', listed.disposition, 'under_review', listed.under_review,
    'next_at', CASE listed.state WHEN 'scheduled' THEN coalesce(call.next_at, :slot + call.id * :stagger) END, {_OF_NEWEST}))
FROM ({{calls}}) AS listed JOIN call ON call.id = listed.id {_NEWEST}"""
CALLS: Final = _LISTED.format(calls=views.CALLS)
CALLS_LIVE: Final = _LISTED.format(calls=views.CALLS_LIVE)
CALLS_TO: Final = f"""
SELECT json_group_array(json_object(
    'id', call.id, 'phone', phone, 'name', {_NAME}, 'campaign', playbook, 'campaign_id', campaign, 'created_at', created_at,
    'state', CASE WHEN open.call_id IS NOT NULL THEN 'live' WHEN finished_at IS NOT NULL OR cancelled THEN 'finished'
                  ELSE 'scheduled' END,
    'disposition', CASE WHEN cancelled AND finished_at IS NULL AND open.call_id IS NULL THEN 'cancelled'
                        ELSE call.disposition END,
    'under_review', {IS_UNDER_REVIEW},
    'next_at', CASE WHEN open.call_id IS NULL AND finished_at IS NULL AND NOT cancelled THEN coalesce(next_at, slot) END,
    {_OF_NEWEST}))
FROM (
    SELECT call.id AS found, status = 'cancelled' AS cancelled, created_at, playbook ->> 'name' AS playbook,
           CASE single WHEN 0 THEN uuid END AS campaign,
           launch_at + clock_shift_ms + (call.id - first_call) * stagger_ms AS slot
    FROM campaign JOIN call ON call.id >= first_call AND call.id < first_call + size
    WHERE account_id = :account AND status <> 'loading' AND phone = :phone ORDER BY call.id DESC LIMIT :limit)
JOIN call ON call.id = found {_NEWEST}"""
# Stretch by stretch: few, unless many recalls were due when the database that was lost went on without the backup.
UNDER_REVIEW: Final = f"""
SELECT json(coalesce(sum(last_call - call_id + 1), 0))
FROM (SELECT *, {_OWNER} AS owner FROM (SELECT first_call AS call_id, last_call FROM review))
JOIN campaign ON campaign.id = owner WHERE account_id = :account"""
_ENDS: Final = f"""
SELECT minute, disposition, sip_status, attempts, last_at, call_id, number FROM minute
WHERE account_id = :account AND minute >= :since
UNION ALL
SELECT minute, disposition, sip_status, attempts, last_at, call_id, number FROM ({ENDED})
WHERE account_id = :account AND minute >= :since"""
_BY_STEP: Final = """
SELECT json_group_array(json_array(step, disposition, total)) FROM (
    SELECT minute / :step * :step AS step, disposition, sum(attempts) AS total FROM ends GROUP BY 1, 2)"""
OUTCOMES: Final = f"WITH ends AS ({_ENDS}) {_BY_STEP}"
# Neither a machine that answered nor a person who cancelled is a failure.
HOUR: Final = f"""
WITH ends AS MATERIALIZED ({_ENDS}),
failures AS (
    SELECT sip_status, disposition, sum(attempts) AS total, max(last_at) AS last_at, call_id, number FROM ends
    WHERE disposition NOT IN ('answered', 'machine', 'cancelled') GROUP BY 1, 2 ORDER BY total DESC, 1, 2 LIMIT 12)
SELECT json_object('outcomes', ({_BY_STEP}), 'failures', (
    SELECT json_group_array(json_object(
        'sip_status', failures.sip_status, 'disposition', failures.disposition, 'attempts', total, 'last_at', last_at,
        'call', ended.call_id, 'trunk', trunk, 'reason', reason))
    FROM failures LEFT JOIN ended_attempt AS ended ON ended.call_id = failures.call_id AND ended.number = failures.number))"""
