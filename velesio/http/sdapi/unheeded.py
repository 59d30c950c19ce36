"""Options of A1111 that are kept and told again, and change nothing here: each with the reason."""

from collections.abc import Mapping

_REASONS: Mapping[str, str] = {
    "nothing is saved on the server": """
        samples_save samples_filename_pattern save_images_add_number save_images_replace_action grid_save
        grid_extended_filename grid_only_if_multiple grid_zip_filename_pattern save_images_before_face_restoration
        save_images_before_highres_fix save_images_before_color_correction save_mask save_mask_composite
        export_for_4chan img_downscale_threshold target_side_length img_max_size_mp use_original_name_batch
        use_upscaler_name_as_suffix save_selected_only save_write_log_csv save_init_img temp_dir
        clean_temp_dir_at_start save_incomplete_images outdir_samples outdir_txt2img_samples outdir_img2img_samples
        outdir_extras_samples outdir_grids outdir_txt2img_grids outdir_img2img_grids outdir_save outdir_init_images
        save_to_dirs grid_save_to_dirs use_save_to_dirs_for_ui directories_filename_pattern
        directories_max_prompt_words save_txt""",
    "of A1111's web page, which is not here": """
        notification_audio notification_volume auto_launch_browser show_warnings show_gradio_deprecation_warnings
        set_scale_by_when_changing_upscaler img2img_editor_height img2img_sketch_default_brush_color
        img2img_inpaint_mask_brush_color img2img_inpaint_sketch_default_brush_color img2img_batch_show_results_limit
        extra_networks_show_hidden_directories extra_networks_dir_button_function extra_networks_hidden_models
        extra_networks_default_multiplier extra_networks_card_width extra_networks_card_height
        extra_networks_card_text_scale extra_networks_card_show_desc extra_networks_card_description_is_html
        extra_networks_card_order_field extra_networks_card_order extra_networks_tree_view_style
        extra_networks_tree_view_default_enabled extra_networks_tree_view_default_width
        extra_networks_add_text_separator ui_extra_networks_tab_reorder keyedit_precision_attention
        keyedit_precision_extra keyedit_delimiters keyedit_delimiters_whitespace keyedit_move disable_token_counters
        include_styles_into_token_counters do_not_show_images js_modal_lightbox js_modal_lightbox_initially_zoomed
        js_modal_lightbox_gamepad js_modal_lightbox_gamepad_repeat sd_webui_modal_lightbox_icon_opacity
        sd_webui_modal_lightbox_toolbar_opacity gallery_height open_dir_button_choice compact_prompt_box
        samplers_in_dropdown dimensions_and_batch_together sd_checkpoint_dropdown_use_short hires_fix_show_sampler
        hires_fix_show_prompts txt2img_settings_accordion img2img_settings_accordion localization quicksettings_list
        ui_tab_order hidden_tabs ui_reorder_list gradio_theme gradio_themes_cache show_progress_in_title send_seed
        send_size enable_reloading_ui_scripts disable_weights_auto_swap infotext_skip_pasting infotext_styles
        show_progressbar live_preview_refresh_period js_live_preview_in_modal_lightbox hide_samplers
        postprocessing_enable_in_main_ui postprocessing_disable_in_extras upscaling_max_images_in_cache
        postprocessing_existing_caption_action prevent_screen_sleep_during_generation control_net_unit_count""",
    "of A1111's console": """
        enable_console_prompts samples_log_stdout multiple_tqdm enable_upscale_progressbar print_hypernet_extra
        list_hidden_files hide_ldm_prints dump_stacks_on_signal profiling_enable profiling_activities
        profiling_record_shapes profiling_profile_memory profiling_with_stack profiling_filename memmon_poll_rate
        textual_inversion_print_at_load""",
    "nothing is trained": """
        unload_models_when_training pin_memory save_optimizer_state save_training_settings_to_txt
        dataset_filename_word_regex dataset_filename_join_string training_image_repeats_per_epoch
        training_write_csv_every training_xattention_optimizations training_enable_tensorboard
        training_tensorboard_save_images training_tensorboard_flush_every""",
    "no model here describes pictures": """
        interrogate_keep_models_in_memory interrogate_return_ranks interrogate_clip_num_beams
        interrogate_clip_min_length interrogate_clip_max_length interrogate_clip_dict_limit
        interrogate_clip_skip_categories interrogate_deepbooru_score_threshold deepbooru_sort_alpha
        deepbooru_use_spaces deepbooru_escape deepbooru_filter_tags""",
    "the operator decides what is fetched (`fetch.hosts`)":
        "api_enable_requests api_forbid_local_requests api_useragent",
    "the operator decides what stays loaded (`config.toml`)": """
        disable_mmap_load_safetensors sd_checkpoints_limit sd_checkpoints_keep_in_cpu sd_checkpoint_cache
        sd_vae_checkpoint_cache control_net_model_cache_size""",
    "the operator decides on numbers and attention (`dtype`, `attention`); pictures differ by rounding alone":
        "upcast_attn cross_attention_optimization cache_fp16_weight",
    "a VAE that overflows is widened to float32 in any case": "auto_vae_precision auto_vae_precision_bfloat16",
    "faces are not restored": "face_restoration_model code_former_weight face_restoration_unload",
    "there are no extensions": "disabled_extensions disable_all_extensions restore_config_state_file",
    "upscalers are the files of `upscalers/`": "realesrgan_enabled_models dat_enabled_models",
    "`ESRGAN_tile` counts for all networks": "DAT_tile DAT_tile_overlap",
    "told, not set: it belongs to `sd_model_checkpoint`": "sd_checkpoint_hash",
    "prompts are always computed together and kept; it changes no picture":
        "persistent_cond_cache batch_cond_uncond",
    "prompts are always filled up to one length, as if it were true": "pad_cond_uncond",
    "prompts are filled up, never cut to the shorter one's length": "pad_cond_uncond_v0",
    "models have no VAE of their own by preference but the file beside them": "sd_vae_overrides_per_model_preferences",
    "Stable Diffusion 3 is not supported": "sd3_enable_t5",
    "each picture has noise of its own generator, as if it were true": "enable_batch_seeds",
    "each picture has noise of its own generator, as if it were false": "no_dpmpp_sde_batch_determinism",
    "texts of old versions are read as they are": "auto_backcompat",
    "A1111's weighing of 2022 is not imitated; `emphasis` has today's ways": "use_old_emphasis_implementation",
    "sizes mean what they have meant since A1111 1.0; `firstphase_width` is the old way":
        "use_old_hires_fix_width_height",
    "the second pass has the LoRAs of the first prompt in any case": "hires_fix_use_firstpass_conds",
    "DDIM's timesteps are uniform": "ddim_discretize",
    "sheets have no empty places where that can be, as if it were true": "grid_prevent_empty_spots",
    "titles are in one font and one colour": "font grid_text_inactive_color",
    "previews show the picture as it is guided": "live_preview_content",
    "previews show each picture by itself": "show_progress_grid",
    "a VAE decodes previews wherever `show_progress_type` says so": "live_preview_allow_lowvram_full",
    "what is interrupted is answered with its last preview, as if it were true": "live_preview_fast_interrupt",
    "an interrupted picture stops at its next step, as if it were false": "interrupt_after_current",
    "names of users are told to nobody": "add_user_name_to_info",
    "hashes of embeddings are not in the text": "textual_inversion_add_hashes_to_infotext",
    "only enlarging is done to pictures": "postprocessing_operation_order",
}  # fmt: skip

UNHEEDED: Mapping[str, str] = {key: reason for reason, keys in _REASONS.items() for key in keys.split()}
"""By name, the reason."""
