-- Version 10: why an attempt was not due earlier, such as calling hours (NULL: nothing had put it off).

ALTER TABLE open_attempt ADD COLUMN delay_reason TEXT;
ALTER TABLE ended_attempt ADD COLUMN delay_reason TEXT;
DROP VIEW attempt;
CREATE VIEW attempt AS
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, ended_at, invites, trunk, caller_id, sip_call_id,
       disposition, reason, sip_status, q850_cause, ended_by, rtp, delay_reason
FROM ended_attempt
UNION ALL
SELECT call_id, number, due_at, fire_at, dialed_at, ringing_at, answered_at, NULL, invites, trunk, caller_id, sip_call_id,
       NULL, reason, NULL, NULL, NULL, NULL, delay_reason
FROM open_attempt;
