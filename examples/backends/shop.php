<?php
// A back end in PHP without a framework: `php -S 127.0.0.1:3000 shop.php`.
// It handles commands, decides who connects, signs users' tokens, and publishes.

// In production: a table, written in the transaction that does the work.
const STATE = '/oyez-shop-state.json';

// The signature of Standard Webhooks.
function verify(string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $time = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '0';
    if (abs(time() - (int) $time) > 300) {
        return false;
    }
    $key = base64_decode(substr(getenv('OYEZ_SECRET'), strlen('whsec_')));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

function accept_offer(array $request, array &$state): array
{
    $offer = $request['command']['data']['offerId'];
    if (isset($state['taken'][$offer])) {
        return ['error' => ['code' => 'offer_taken']];
    }
    $state['taken'][$offer] = true;
    $event = ['event' => 'offer:accepted', 'data' => ['offerId' => $offer, 'buyerId' => $request['client']['user']]];
    return ['data' => ['orderId' => "order-$offer"], 'events' => [$event]];
}

function answer(array $request, array &$state): array
{
    return match ($request['type']) {
        'connect' => ['allow' => $request['client']['user'] !== 'mallory'],
        'disconnect' => [],
        'command' => match ($request['command']['name']) {
            'offer:accept' => accept_offer($request, $state),
        },
    };
}

// A JSON Web Token (HS256) with nothing but the standard library.
function sign_token(string $user, string $role): string
{
    $encode = fn (string $data): string => rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
    $claims = ['sub' => $user, 'role' => $role, 'exp' => time() + 3600];
    $signed = $encode('{"alg":"HS256"}') . '.' . $encode(json_encode($claims));
    return "$signed." . $encode(hash_hmac('sha256', $signed, getenv('JWT_SECRET'), true));
}

function publish(array $offer): string
{
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [
            'authorization: Bearer ' . getenv('OYEZ_SERVICE_KEY'),
            'content-type: application/json',
            "idempotency-key: offer-{$offer['offerId']}",
        ],
        'content' => json_encode(['event' => 'offer:new', 'data' => $offer]),
    ]]);
    return file_get_contents(getenv('OYEZ_URL') . '/shop/events', false, $context);
}

$body = file_get_contents('php://input');
header('content-type: application/json');
switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/oyez':
        if (!verify($body)) {
            http_response_code(401);
            break;
        }
        $request = json_decode($body, true);
        $file = fopen(sys_get_temp_dir() . STATE, 'c+');
        flock($file, LOCK_EX);
        $state = json_decode(stream_get_contents($file), true) ?? ['answers' => [], 'taken' => []];
        // The same id again: the same answer, and the work is done once.
        $state['answers'][$request['id']] ??= answer($request, $state);
        rewind($file);
        ftruncate($file, 0);
        fwrite($file, json_encode($state));
        fclose($file);
        echo json_encode((object) $state['answers'][$request['id']]);
        break;
    case '/token': // A token for the user who has logged in to your shop.
        $user = json_decode($body, true);
        echo json_encode(['token' => sign_token($user['user'], $user['role'])]);
        break;
    case '/offers': // Something has happened in your shop: publish it.
        echo publish(json_decode($body, true));
        break;
    default:
        http_response_code(404);
}
