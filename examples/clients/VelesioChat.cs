// A Unity component that streams an answer into an event, word by word. Unity 2021 or newer; no package is needed.
// Put it on a game object, set the address and the key, and call Ask("…") from your own script.

using System;
using System.Collections;
using System.Text;
using UnityEngine;
using UnityEngine.Events;
using UnityEngine.Networking;

public class VelesioChat : MonoBehaviour
{
    [Tooltip("Where the server is")] public string address = "http://127.0.0.1:8000";
    [Tooltip("The game's key; empty on the server's own machine")] public string key = "";
    [Tooltip("What the model is told to be")] [TextArea] public string system = "You are the keeper of a small inn.";
    [Tooltip("Tokens of one answer at most")] public int maxTokens = 120;

    public UnityEvent<string> onWords = new UnityEvent<string>();
    public UnityEvent<string> onError = new UnityEvent<string>();
    public UnityEvent onEnd = new UnityEvent();

    Coroutine running;

    public void Ask(string question)
    {
        Stop();
        running = StartCoroutine(Talk(question));
    }

    // Ends the answer; the server notices, and its model is free for others.
    public void Stop()
    {
        if (running != null) StopCoroutine(running);
        running = null;
    }

    IEnumerator Talk(string question)
    {
        var body = new Request
        {
            stream = true,
            max_tokens = maxTokens,
            messages = new[] { new Message("system", system), new Message("user", question) },
        };
        using var request = new UnityWebRequest(address + "/v1/chat/completions", "POST")
        {
            uploadHandler = new UploadHandlerRaw(Encoding.UTF8.GetBytes(JsonUtility.ToJson(body))),
            downloadHandler = new Events(words => onWords.Invoke(words)),
        };
        request.SetRequestHeader("Content-Type", "application/json");
        if (key != "") request.SetRequestHeader("Authorization", "Bearer " + key);
        yield return request.SendWebRequest();
        if (request.result != UnityWebRequest.Result.Success) onError.Invoke(request.error);
        onEnd.Invoke();
    }

    // Takes server-sent events apart as they come; an event may be split between two pieces, a character too.
    class Events : DownloadHandlerScript
    {
        readonly Action<string> onWords;
        readonly Decoder decoder = Encoding.UTF8.GetDecoder();
        readonly StringBuilder rest = new StringBuilder();

        public Events(Action<string> onWords) => this.onWords = onWords;

        protected override bool ReceiveData(byte[] data, int length)
        {
            var letters = new char[Encoding.UTF8.GetMaxCharCount(length)];
            rest.Append(letters, 0, decoder.GetChars(data, 0, length, letters, 0));
            var lines = rest.ToString().Split('\n');
            rest.Clear().Append(lines[lines.Length - 1]);
            for (var i = 0; i < lines.Length - 1; i++)
            {
                var line = lines[i].TrimEnd('\r');
                if (!line.StartsWith("data: ") || line == "data: [DONE]") continue;
                var chunk = JsonUtility.FromJson<Chunk>(line.Substring(6));
                if (chunk.choices.Length > 0 && !string.IsNullOrEmpty(chunk.choices[0].delta.content))
                    onWords(chunk.choices[0].delta.content);
            }
            return true;
        }
    }

    [Serializable] class Request { public bool stream; public int max_tokens; public Message[] messages; }
    [Serializable] class Message
    {
        public string role, content;
        public Message(string role, string content) { this.role = role; this.content = content; }
    }
    [Serializable] class Chunk { public Choice[] choices; }
    [Serializable] class Choice { public Delta delta; }
    [Serializable] class Delta { public string content; }
}
